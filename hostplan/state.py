"""What a host says of itself, from the role's module or from a recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hostplan import pci
from hostplan.platforms import Platform
from hostplan.versions import Package


@dataclass(frozen=True, slots=True)
class State:
    """A host before any change; sizes in MiB, absent things are empty."""

    platform: Platform
    devices: tuple[pci.PciDevice, ...]
    packages: tuple[Package, ...]
    holds: frozenset[str]  # packages somebody put on hold
    own_holds: frozenset[str]  # those of them that this project did
    ours: bool  # whether this project prepared the host before
    loaded: str  # version of the kernel module in use
    loaded_open: bool
    nouveau: bool
    secure_boot: bool
    runfile: bool  # a driver that no package manager knows of
    engines: tuple[str, ...]
    free_mib: Mapping[str, int]
    vendor_system: str  # an image whose driver its vendor keeps, like DGX OS
    sources: Mapping[str, str]  # files that name package sources of NVIDIA, with their text
    reboot_pending: bool

    @classmethod
    def of(cls, said: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> State:
        """From the module's answer and Ansible's facts; a recording carries its facts in itself."""
        return cls(
            Platform.of(facts or said["facts"]),
            pci.from_lines(said.get("pci", ())),
            tuple(Package.of(line) for line in said.get("packages", ())),
            frozenset(said.get("holds", ())),
            frozenset(said.get("own_holds", ())),
            bool(said.get("ours", said.get("own_holds"))),
            str(said.get("loaded", "")),
            bool(said.get("loaded_open", False)),
            bool(said.get("nouveau", False)),
            bool(said.get("secure_boot", False)),
            bool(said.get("runfile", False)),
            tuple(said.get("engines", ())),
            dict(said.get("free_mib", {})),
            str(said.get("vendor_system", "")),
            dict(said.get("sources", {})),
            bool(said.get("reboot_pending", False)),
        )

    @property
    def driver(self) -> tuple[Package, ...]:
        """Packages of a driver, of whatever branch, that are there or were left halfway."""
        return tuple(one for one in self.packages if one.branch and (one.installed or one.broken))
