#!/usr/bin/python
"""Ansible module: what a host has of GPUs and of NVIDIA's container toolkit, asked and not assumed, in one step."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: container_toolkit_state
short_description: What a host has of GPUs and of NVIDIA's container toolkit, in one step
description:
  - Changes nothing. What cannot be found out is an empty text, never a failure.
options:
  pci_path: {description: Where the kernel lists PCI devices., type: path, required: true}
  driver_version_path: {description: Where the loaded driver tells its version., type: path, required: true}
  spec_path: {description: The CDI specification., type: path, required: true}
  config_path: {description: Settings of NVIDIA's runtime., type: path, required: true}
  preferences_path: {description: The pin this project writes., type: path, required: true}
  engine_filter: {description: How C(docker ps --filter) finds engines., type: str, required: true}
author: Ironrack
"""

RETURN = r"""
found: {description: "Everything, as hostplan.toolkit takes it.", type: dict, returned: always}
"""

NVIDIA = "0x10de"
DISPLAY = ("0x0300", "0x0302")  # VGA and 3D controllers: GPUs, not their audio functions or switches
NAMES = re.compile(r"^(libnvidia-container|nvidia-container-toolkit)")
DGX = Path("/etc/dgx-release")


def ask(*argv: str) -> str:
    """Standard output of a program, or an empty text when it fails or is not there."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def read(path: Path) -> str:
    """A file's text, or an empty one."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def gpus(pci: Path) -> list[str]:
    """PCI addresses of NVIDIA's GPUs, none where the kernel lists no PCI bus."""
    devices = sorted(pci.iterdir()) if pci.is_dir() else []
    return [
        device.name
        for device in devices
        if read(device / "vendor").strip() == NVIDIA and read(device / "class").strip()[:6] in DISPLAY
    ]


def packages(listed: str) -> tuple[dict[str, str], dict[str, str]]:
    """Installed packages of the toolkit with their versions, and half-installed ones with dpkg's word for it."""
    rows = [line.split("\t") for line in listed.splitlines() if NAMES.match(line)]
    installed = {name: version for name, status, version in rows if status == "installed"}
    whole = ("installed", "not-installed", "config-files")
    return installed, {name: status for name, status, _ in rows if status not in whole}


def spec_driver(text: str) -> str:
    """Version of the driver whose libraries a CDI specification names, or an empty text."""
    found = re.search(r"libcuda\.so\.(\d+\.\d[\d.]*)", text)
    return found[1] if found else ""


def state(values: dict[str, Any]) -> dict[str, Any]:
    """All of it."""
    installed, broken = packages(ask("dpkg-query", "-W", "-f=${Package}\t${db:Status-Status}\t${Version}\n"))
    docker = ask("docker", "version", "--format", "{{.Server.Version}}")
    running = ask("docker", "ps", "--filter", values["engine_filter"], "--format", "{{.Names}}") if docker else ""
    return {
        "gpus": gpus(Path(values["pci_path"])),
        "packages": installed,
        "broken": broken,
        "held": [name for name in ask("apt-mark", "showhold").split() if NAMES.match(name)],
        "ours": Path(values["preferences_path"]).exists(),
        "dgx": DGX.exists(),
        "docker": docker,
        "engines": running.split(),
        "architecture": platform.machine(),
        "driver": read(Path(values["driver_version_path"])).strip(),
        "spec_driver": spec_driver(read(Path(values["spec_path"]))),
        "config": read(Path(values["config_path"])),
    }


def main() -> None:
    """Entry point."""
    paths = ("pci_path", "driver_version_path", "spec_path", "config_path", "preferences_path")
    spec: dict[str, Any] = {name: {"type": "path", "required": True} for name in paths}
    module = AnsibleModule(
        argument_spec={**spec, "engine_filter": {"type": "str", "required": True}}, supports_check_mode=True
    )
    module.exit_json(changed=False, found=state(module.params))


if __name__ == "__main__":
    main()
