#!/usr/bin/python
"""Ansible module: what a host's kernel, clock and PCI bus say of themselves, in one step."""

from __future__ import annotations

import glob
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: host_tuning_state
short_description: What a host's kernel, clock and PCI bus say of themselves, in one step
description:
  - Changes nothing. What cannot be found out is left out or an empty text, never a failure.
options:
  root: {description: Where C(/proc) and C(/sys) are found., type: path, default: /}
author: Ironrack
"""

RETURN = r"""
found: {description: "Everything, as hostplan.tuning takes it.", type: dict, returned: always}
"""

TREES = ("vm", "kernel", "net/core", "net/ipv4", "fs")
THP = "sys/kernel/mm/transparent_hugepage/enabled"
GOVERNORS = "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
TIME_UNITS = ("chrony.service", "systemd-timesyncd.service", "ntpsec.service", "openntpd.service")
NVIDIA, DISPLAY, BRIDGE, SWITCH = "0x10de", ("0x0300", "0x0302"), "0x0604", "0x0680"
ACS = 0x000D  # extended capability: access control services
REDIRECT = 0x0C  # its control bits that send requests and completions between devices through the root


def ask(*argv: str) -> str:
    """Standard output of a program whatever its exit status, or an empty text when it is not there."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def read(path: Path) -> str:
    """A file's text, or an empty one."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def settings(root: Path) -> Iterator[tuple[str, Path]]:
    """The kernel's settings that are plain files, by their names for sysctl."""
    base = root / "proc/sys"
    for tree in TREES:
        for path in sorted((base / tree).glob("*")):
            if path.is_file():
                yield ".".join(path.relative_to(base).parts), path


def writable(path: Path) -> bool:
    """Whether this process may write it: a read-only mount says no, also to root."""
    return os.access(path, os.W_OK)


def chosen(text: str) -> str:
    """The word in brackets, as in `always [madvise] never`."""
    return next((word.strip("[]") for word in text.split() if word.startswith("[")), "")


def acs_redirects(config: bytes) -> bool:
    """Whether a bridge's configuration space has ACS on in a way that keeps devices from reaching each other."""
    place, seen = 0x100, 0
    while place and place + 8 <= len(config) and seen < 64:
        header = int.from_bytes(config[place : place + 4], "little")
        if header & 0xFFFF == ACS:
            return bool(int.from_bytes(config[place + 6 : place + 8], "little") & REDIRECT)
        place, seen = header >> 20 & 0xFFC, seen + 1
    return False


def bus(root: Path) -> dict[str, Any]:
    """GPUs with their NUMA nodes, bridges that redirect, whether there is an NVSwitch."""
    devices = [
        (path, read(path / "vendor"), read(path / "class")[:6])
        for path in sorted((root / "sys/bus/pci/devices").glob("*"))
    ]
    gpus = [path for path, vendor, kind in devices if vendor == NVIDIA and kind in DISPLAY]
    bridges = [path for path, _, kind in devices if kind == BRIDGE]
    return {
        "gpus": [{"address": path.name, "node": int(read(path / "numa_node") or -1)} for path in gpus],
        "acs": [path.name for path in bridges if acs_redirects(_bytes(path / "config"))],
        "nvswitch": any(vendor == NVIDIA and kind == SWITCH for _, vendor, kind in devices),
    }


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def iommu(root: Path) -> str:
    """How the IOMMU treats devices: `translating`, `passthrough`, or an empty text without one."""
    kinds = {read(Path(path)) for path in glob.glob(str(root / "sys/kernel/iommu_groups/*/type"))}
    return "translating" if any(kind.startswith("DMA") for kind in kinds) else "passthrough" if kinds else ""


def clock() -> dict[str, Any]:
    """Which services keep the clock, and whether it is in sync."""
    active = [unit for unit in TIME_UNITS if ask("systemctl", "is-active", unit) == "active"]
    return {
        "time_units": active,
        "synchronized": ask("timedatectl", "show", "-p", "NTPSynchronized", "--value") == "yes",
    }


def state(root: Path) -> dict[str, Any]:
    """Everything except the clock."""
    known = dict(settings(root))
    values = {name: read(path) for name, path in known.items()}
    governors = [Path(path) for path in sorted(glob.glob(str(root / GOVERNORS)))]
    offered = read(governors[0].parent / "scaling_available_governors").split() if governors else []
    places = {f"/{THP}": [root / THP], f"/{GOVERNORS}": governors}
    kind = ask("systemd-detect-virt")
    container = ask("systemd-detect-virt", "--container")
    return {
        "sysctl": values,
        "writable": [name for name, path in known.items() if writable(path)]
        + [name for name, paths in places.items() if paths and all(writable(path) for path in paths)],
        "container": "" if container == "none" else container,
        "virtual": "" if kind in ("none", container) else kind,
        "thp": chosen(read(root / THP)),
        "governors": sorted({read(path) for path in governors}),
        "governors_known": offered,
        "iommu": iommu(root),
        "nodes": {
            path.name[4:]: read(path / "cpulist")
            for path in sorted((root / "sys/devices/system/node").glob("node[0-9]*"))
        },
        **bus(root),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={"root": {"type": "path", "default": "/"}}, supports_check_mode=True)
    module.exit_json(changed=False, found={**state(Path(module.params["root"])), **clock()})


if __name__ == "__main__":
    main()
