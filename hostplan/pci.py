"""PCI devices of a host, from sysfs or from recorded lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NVIDIA = "10de"
DISPLAY = "03"  # class 0300: with a screen, 0302: without
BRIDGE = "0680"  # how NVSwitches of the first three generations show
_LINE = re.compile(r"^(\S+) ([0-9a-f]{4}) ([0-9a-f]{4}):([0-9a-f]{4})(?: ([0-9a-f]{4}):([0-9a-f]{4}))?$")


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One function on the bus; ids are four lower-case hexadecimal digits, `kind` is class and subclass."""

    slot: str
    kind: str
    vendor: str
    device: str
    subsystem: str = ""  # vendor:device, empty when the bus does not say

    @property
    def id(self) -> str:
        """`vendor:device`, as lspci prints it."""
        return f"{self.vendor}:{self.device}"

    @property
    def line(self) -> str:
        """`slot class vendor:device subsystem`, what `from_lines` reads."""
        return f"{self.slot} {self.kind} {self.id} {self.subsystem}".rstrip()


def from_lines(lines: Iterable[str]) -> tuple[PciDevice, ...]:
    """Devices from lines of the form `0000:17:00.0 0302 10de:2330 10de:16c1`; raises ValueError naming a bad one."""
    return tuple(_device(line) for line in lines)


def _device(line: str) -> PciDevice:
    found = _LINE.match(line.strip().lower())
    if not found:
        raise ValueError(f"pci: {line!r} is no device: the form is `slot class vendor:device [subsystem]`")
    slot, kind, vendor, device, sub_vendor, sub_device = found.groups()
    return PciDevice(slot, kind, vendor, device, f"{sub_vendor}:{sub_device}" if sub_vendor else "")


def from_sysfs(root: Path) -> tuple[PciDevice, ...]:
    """Devices under a folder like /sys/bus/pci/devices, in the bus's order; none when the folder is not there."""
    if not root.is_dir():
        return ()
    return tuple(_read(folder) for folder in sorted(root.iterdir()) if (folder / "vendor").exists())


def _read(folder: Path) -> PciDevice:
    values = {name: _hex(folder / name) for name in ("vendor", "device", "subsystem_vendor", "subsystem_device")}
    kind = (folder / "class").read_text().strip().removeprefix("0x")[:4]
    sub = [values["subsystem_vendor"], values["subsystem_device"]]
    return PciDevice(folder.name, kind, values["vendor"], values["device"], ":".join(sub) if all(sub) else "")


def _hex(path: Path) -> str:
    return path.read_text().strip().removeprefix("0x").lower() if path.exists() else ""
