"""HAProxy's runtime socket, asked by hand: what its tables hold, and whether it knows all it will be told."""

from __future__ import annotations

import re
import socket
from pathlib import Path

_SECTION = re.compile(r"id=\S+ disabled=\d+ flags=0x([0-9a-f]+)")
_TOLD = 0x3  # by the process before and by other edges, or neither has anything to say


def ask(path: str | Path, order: str) -> str:
    """What the process that answers now says to an order."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(f"{order}\n".encode())
        return client.makefile("rb").read().decode()


def process(path: str | Path) -> int:
    """The process that answers now: another one after a reload."""
    return int(ask(path, "show info").split("\nPid: ")[1].split()[0])


def entries(path: str | Path, table: str) -> int:
    """How many entries a table has."""
    found = re.search(r"used:(\d+)", ask(path, f"show table {table}"))
    assert found, table
    return int(found[1])


def settled(path: str | Path) -> bool:
    """Whether nothing more is handed over to it: only then does HAProxy 2.6 hand anything over itself."""
    return all(int(flags, 16) & _TOLD == _TOLD for flags in _SECTION.findall(ask(path, "show peers")))
