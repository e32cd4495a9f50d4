#!/usr/bin/python
"""Ansible module: what a host has of GPUs and of a driver for them, asked and not assumed, in one step."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: gpu_driver_state
short_description: What a host has of GPUs and of a driver for them
description:
  - Changes nothing. What cannot be found out is empty, never a failure.
options:
  pci_root: {description: Folder of the PCI devices as the kernel shows them., type: path, required: true}
  engine_filter: {description: How C(docker ps --filter) finds engines., type: str, required: true}
  held_path: {description: File with the packages this role put on hold., type: path, required: true}
author: Ironrack
"""

RETURN = r"""
pci: {description: "PCI functions as C(slot class vendor:device subsystem).", type: list, returned: always}
packages: {description: "Packages of drivers and kernels as C(name version status).", type: list, returned: always}
holds: {description: Packages on hold., type: list, returned: always}
own_holds: {description: Packages this role put on hold., type: list, returned: always}
ours: {description: Whether this role prepared the host before., type: bool, returned: always}
loaded: {description: Version of the kernel module in use., type: str, returned: always}
loaded_open: {description: Whether that is the open build., type: bool, returned: always}
nouveau: {description: Whether nouveau is loaded., type: bool, returned: always}
secure_boot: {description: Whether Secure Boot is on., type: bool, returned: always}
runfile: {description: Whether NVIDIA's own uninstaller is there., type: bool, returned: always}
engines: {description: Running engine containers., type: list, returned: always}
free_mib: {description: Free space of the file systems that are written to., type: dict, returned: always}
vendor_system: {description: "Name of an image whose vendor keeps the driver, or empty.", type: str, returned: always}
sources: {description: Files that name a repository of NVIDIA's., type: dict, returned: always}
reboot_pending: {description: Whether the system asks for a restart., type: bool, returned: always}
"""

WANTED = re.compile(r"nvidia|^cuda-drivers|^libcuda|^libnvcuvid|^libnvsdm|^nvlsm|^infiniband-diags|^libibumad|^linux-")
# The last byte says whether it is on; four bytes of attributes come first.
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
REPOSITORY = "developer.download.nvidia.com/compute/cuda"


def ask(*argv: str) -> str:
    """Standard output of a program, or an empty text when it fails or is not there."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def text(path: Path) -> str:
    """A file's text, or an empty one."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def pci(root: Path) -> list[str]:
    """One line for each function on the bus, in the bus's order."""
    if not root.is_dir():
        return []
    return [function(folder) for folder in sorted(root.iterdir()) if (folder / "vendor").exists()]


def function(folder: Path) -> str:
    """`slot class vendor:device subsystem` of one function."""
    ids = {path: text(folder / path).removeprefix("0x").lower() for path in ("class", "vendor", "device")}
    sub = [text(folder / f"subsystem_{part}").removeprefix("0x").lower() for part in ("vendor", "device")]
    line = f"{folder.name} {ids['class'][:4]} {ids['vendor']}:{ids['device']}"
    return f"{line} {':'.join(sub)}" if all(sub) else line


def packages(listing: str) -> list[str]:
    """Lines of dpkg's listing that are about drivers and kernels."""
    return [line for line in listing.splitlines() if WANTED.search(line) and len(line.split()) == 3]


def module_version(proc: str) -> str:
    """Version in /proc/driver/nvidia/version."""
    found = re.search(r"NVRM version:.*?\b(\d{3}\.\d+(?:\.\d+)?)\b", proc)
    return found[1] if found else ""


def secure_boot(root: Path) -> bool:
    """Whether the firmware says that Secure Boot is on; a host without EFI has none."""
    try:
        return (root / SECURE_BOOT).read_bytes()[-1:] == b"\x01"
    except OSError:
        return False


def vendor_system(root: Path) -> str:
    """DGX OS by its release file."""
    release = text(root / "etc/dgx-release")
    if not release:
        return ""
    found = re.search(r'^DGX_(?:OTA|SWBUILD)_VERSION="?([^"\n]+)', release, re.M)
    return f"DGX OS {found[1]}" if found else "DGX OS"


def sources(root: Path) -> dict[str, str]:
    """Files of apt that name NVIDIA's own repository."""
    folder = root / "etc/apt"
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    return {f"/{path.relative_to(root)}": "" for path in files if REPOSITORY in active(text(path))}


def active(source: str) -> str:
    """The lines that are no comments."""
    return "\n".join(line for line in source.splitlines() if not line.lstrip().startswith("#"))


def free(root: Path) -> dict[str, int]:
    """MiB left where packages, modules and the initial RAM disk go; only file systems of their own count twice."""
    return {
        f"/{name}": shutil.disk_usage(root / name).free >> 20
        for name in ("boot", "usr", "var")
        if (root / name).is_dir()
    }


def state(root: Path, pci_root: Path, engine_filter: str, held_path: Path) -> dict[str, Any]:
    """Everything, below a root."""
    proc = text(root / "proc/driver/nvidia/version")
    return {
        "pci": pci(pci_root),
        "packages": packages(ask("dpkg-query", "-W", "-f=${Package} ${Version} ${db:Status-Status}\n")),
        "holds": ask("apt-mark", "showhold").split(),
        "own_holds": text(held_path).split(),
        "ours": held_path.exists(),
        "loaded": module_version(proc),
        "loaded_open": "Open Kernel Module" in proc,
        "nouveau": (root / "sys/module/nouveau").is_dir(),
        "secure_boot": secure_boot(root),
        "runfile": (root / "usr/bin/nvidia-uninstall").exists(),
        "engines": ask("docker", "ps", "--filter", engine_filter, "--format", "{{.Names}}").split(),
        "free_mib": free(root),
        "vendor_system": vendor_system(root),
        "sources": sources(root),
        "reboot_pending": (root / "run/reboot-required").exists(),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "pci_root": {"type": "path", "required": True},
            "engine_filter": {"type": "str", "required": True},
            "held_path": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    values = module.params
    found = state(Path("/"), Path(values["pci_root"]), values["engine_filter"], Path(values["held_path"]))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
