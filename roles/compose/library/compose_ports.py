#!/usr/bin/python
"""Ansible module: find the ports a release needs that something else already holds."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: compose_ports
short_description: Find the ports a release needs that something else already holds
description:
  - Binds each address and port for a moment, as the service would. Changes nothing.
options:
  services:
    description: Services with their C(ports), as the plan lists them.
    type: list
    elements: dict
    required: true
  running:
    description: Names of our own running services; their ports are theirs.
    type: list
    elements: str
    default: []
author: Ironrack
"""

RETURN = r"""
problems: {description: One sentence for each port or address that cannot be had., type: list, returned: always}
"""

LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp
SETTINGS = {
    "engine": {"http": "stack_engines.base_port"},
    "router": {
        "spop": "stack_router.spop_port",
        "http": "stack_router.http_port",
        "events": "stack_router.events_port",
    },
    "edge": {"http": "stack_edge.bind_port", "metrics": "stack_edge.metrics_port"},
    "prometheus": {"http": "stack_observe.prometheus_port"},
    "alertmanager": {"http": "stack_observe.alertmanager_port"},
    "node_exporter": {"http": "stack_observe.node_exporter_port"},
    "gpu_exporter": {"http": "stack_observe.gpu_exporter_port"},
}


def trial(address: str, port: int) -> int:
    """0 when the address and port can be bound now, else the error number."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError as error:
            return error.errno or -1
    return 0


def sentence(service: Mapping[str, Any], listen: Mapping[str, Any], error: int, holder: str) -> str:
    """`where: what was found: what is allowed; what to do` for one port that cannot be had."""
    where = f"{service['name']}: {listen['address']}:{listen['port']} ({listen['name']})"
    setting = SETTINGS.get(service["kind"], {}).get(listen["name"], "its port")
    if error == errno.EADDRINUSE:
        return f"{where}: already taken by {holder}: the port must be free; stop that, or change {setting}"
    if error == errno.EADDRNOTAVAIL:
        return f"{where}: this host has no such address: stack_address must be one of its own; correct it"
    return f"{where}: cannot be bound ({os.strerror(error)}): root and CAP_NET_BIND_SERVICE can; change {setting}"


def listening(table: str, port: int) -> set[str]:
    """Socket inodes that listen on a port, out of the text of /proc/net/tcp or tcp6."""
    rows = (line.split() for line in table.splitlines()[1:])
    return {row[9] for row in rows if row[3] == LISTEN and int(row[1].rsplit(":", 1)[1], 16) == port}


def owner(inodes: Iterable[str], proc: Path = Path("/proc")) -> str:
    """Name and pid of a process that holds one of the sockets."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in proc.glob("[0-9]*"):
        if wanted & set(targets(folder / "fd")):
            return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
    return "another process"


def targets(folder: Path) -> Iterator[str]:
    """Where the links of a folder point; processes and their files come and go while we look."""
    try:
        links = list(folder.iterdir())
    except OSError:
        return  # the process has ended
    for link in links:
        with contextlib.suppress(OSError):  # it was closed
            yield os.readlink(link)


def holder(port: int) -> str:
    """Who listens on a port, in words."""
    tables = [Path("/proc/net") / name for name in ("tcp", "tcp6")]
    return owner({inode for table in tables if table.exists() for inode in listening(table.read_text(), port)})


def problems(services: Iterable[Mapping[str, Any]], running: Iterable[str]) -> list[str]:
    """Every port of services that do not run yet that cannot be bound."""
    found = []
    ours = set(running)
    for service in services:
        for listen in [] if service["name"] in ours else service["ports"]:
            error = trial(listen["address"], listen["port"])
            if error:
                found.append(sentence(service, listen, error, holder(listen["port"])))
    return found


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "services": {"type": "list", "elements": "dict", "required": True},
            "running": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, problems=problems(module.params["services"], module.params["running"]))


if __name__ == "__main__":
    main()
