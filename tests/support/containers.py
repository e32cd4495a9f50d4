"""What can be done to the containers of the running stack, undone whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def docker(*words: str) -> str:
    """Run the command line and return what it said. Raises CalledProcessError."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def killed(container: str) -> Iterator[None]:
    """The whole container is ended at once and stays so, as on a host that went away."""
    docker("kill", container)
    try:
        yield
    finally:
        docker("start", container)


def kill_nine(container: str) -> None:
    """End every process in it at once, as a crash would; Docker starts it again by its restart policy."""
    # Not `docker kill`: what somebody stopped by hand stays stopped.
    os.kill(_init(container), signal.SIGKILL)


@contextmanager
def frozen(container: str, name: str = "") -> Iterator[None]:
    """Nothing in it runs; its kernel still takes every packet. What was killed meanwhile is left alone.

    `name`: only the processes that are called so, of which there must be one.
    """
    # Not `docker pause`: it needs a kernel's freezer, which not every machine gives.
    pids = {pid for pid in descendants(_init(container)) if _name(pid).startswith(name)}
    assert pids, f"{container}: no process is called {name}"
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # killed meanwhile
            os.kill(pid, number)


def _name(pid: int) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def children(pid: int) -> set[int]:
    """The processes that a process has started and not yet buried."""
    # A child belongs to the thread that started it, and a thread may end while this looks.
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            found.update(map(int, path.read_text().split()))
    return found


def descendants(pid: int) -> set[int]:
    """A process and everything below it."""
    return {pid}.union(*map(descendants, children(pid)))


def service(container: str) -> int:
    """The process that does a container's work: what its init started."""
    (found,) = children(_init(container))
    return found


def _init(container: str) -> int:
    return int(docker("inspect", "--format", "{{.State.Pid}}", container))
