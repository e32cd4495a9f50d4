#!/usr/bin/python
"""Ansible module: what a host has of Docker, asked and not assumed, in one step."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: docker_state
short_description: What a host has of Docker, asked and not assumed, in one step
description:
  - Changes nothing. What cannot be found out is an empty text, never a failure.
options:
  settings_path: {description: The daemon's settings., type: path, required: true}
  engine_filter: {description: How C(docker ps --filter) finds engines., type: str, required: true}
  upstream: {description: Address that answers where Docker's own repository can be reached., type: str, required: true}
  upstream_timeout_seconds: {description: How long it may take., type: int, required: true}
author: Ironrack
"""

RETURN = r"""
server: {description: Version of the daemon that answers, or an empty text., type: str, returned: always}
compose: {description: Version of Compose, or an empty text., type: str, returned: always}
engines: {description: Running engine containers., type: list, returned: always}
swarm: {description: State of this node's swarm membership., type: str, returned: always}
packages: {description: Installed packages., type: list, returned: always}
settings: {description: The daemon's settings as JSON text, or an empty text., type: str, returned: always}
settings_problem: {description: Why the settings cannot be used, or an empty text., type: str, returned: always}
settings_check: {description: Whether this dockerd can validate a file without starting., type: bool, returned: always}
data: {description: "Data root, storage driver, number of images and containers.", type: dict, returned: always}
command: {description: "The daemon's command line in its unit, or an empty text.", type: str, returned: always}
capabilities: {description: Capabilities the daemon needs and this process lacks., type: list, returned: always}
upstream: {description: Whether Docker's own repository answers., type: bool, returned: always}
"""

# Bits of CapEff without which the daemon cannot start containers.
NEEDED = {"CAP_NET_ADMIN": 12, "CAP_SYS_CHROOT": 18, "CAP_SYS_ADMIN": 21}


def ask(*argv: str) -> str:
    """Standard output of a program, or an empty text when it fails or is not there."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def lacking(status: str) -> list[str]:
    """Needed capabilities that are not in the CapEff line of /proc/self/status."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    mask = int(found[1], 16) if found else 0
    return [name for name, bit in NEEDED.items() if not mask >> bit & 1]


def settings_problem(text: str) -> str:
    """Why daemon.json cannot be merged into, or an empty text; an empty file is an empty object."""
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        return f"not JSON ({error})"
    return "" if isinstance(value, dict) else f"JSON, but a {type(value).__name__} and not an object"


def data(info: str) -> dict[str, Any]:
    """Where the daemon keeps what, from `docker info` in JSON; empty values where it does not answer."""
    told = json.loads(info or "{}")
    kept = int(told.get("Images") or 0) + int(told.get("Containers") or 0)
    return {"root": told.get("DockerRootDir") or "", "driver": told.get("Driver") or "", "kept": kept}


def answers(url: str, timeout_seconds: float) -> bool:
    """Whether an address gives 200 in time."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout_seconds) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def state(settings_path: str, engine_filter: str) -> dict[str, Any]:
    """Everything except the network."""
    path = Path(settings_path)
    text = path.read_text().strip() if path.exists() else ""
    server = ask("docker", "version", "--format", "{{.Server.Version}}")
    return {
        "server": server,
        "compose": ask("docker", "compose", "version", "--short").lstrip("v"),
        "engines": ask("docker", "ps", "--filter", engine_filter, "--format", "{{.Names}}").split() if server else [],
        "swarm": ask("docker", "info", "--format", "{{.Swarm.LocalNodeState}}") if server else "",
        "packages": re.findall(
            r"^(\S+) installed$", ask("dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n"), re.M
        ),
        "settings": text,
        "settings_problem": settings_problem(text),
        "settings_check": "--validate" in ask("dockerd", "--help"),
        "data": data(ask("docker", "info", "--format", "{{json .}}") if server else ""),
        "command": ask("systemctl", "show", "docker.service", "--property", "ExecStart", "--value"),
        "capabilities": lacking(Path("/proc/self/status").read_text()),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "settings_path": {"type": "path", "required": True},
            "engine_filter": {"type": "str", "required": True},
            "upstream": {"type": "str", "required": True},
            "upstream_timeout_seconds": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    values = module.params
    found = state(values["settings_path"], values["engine_filter"])
    # A repository is only looked for where Docker would come from it.
    wanted = not (found["server"] and found["compose"]) and "docker-ce" not in found["packages"]
    found["upstream"] = wanted and answers(values["upstream"], values["upstream_timeout_seconds"])
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
