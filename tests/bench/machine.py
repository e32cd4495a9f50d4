"""What the kernel says about processes: CPU time and memory of a whole tree. Linux only: it reads /proc."""

import os
from collections.abc import Iterable
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes and of all below them, ended children that were waited for included."""
    return sum(_own_seconds(pid) for root in pids for pid in tree(root))


def rss_bytes(pid: int) -> int:
    """Resident memory of one process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


def tree(root: int) -> list[int]:
    """The process and all its descendants that live now."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += _children(pid)
    return found


def described() -> str:
    """This machine in a few words, without its name."""
    return f"{os.cpu_count()} shared cores, {os.uname().machine}, Linux {os.uname().release.split('-')[0]}"


def _own_seconds(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces and parentheses
    return sum(int(ticks) for ticks in fields[11:15]) / _TICK


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in _tasks(pid):
        try:
            found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []
