"""Processes that outlive their starter, and are ended only if they are still the ones that were started."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_GRACE_SECONDS = 3.0
_TAIL_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and the address that answers 200 once it works."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    ready_url: str
    log: str


@dataclass(frozen=True, slots=True)
class Process:
    """A command that was started. `started` is the kernel's start time: with the pid it names one process for ever."""

    command: Command
    pid: int
    started: int

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return started_at(self.pid) == self.started


def started_at(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None if there is none, or only its remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces and parentheses
    return None if state in "ZX" else int(fields[18])


def spawn(command: Command, directory: Path) -> Process:
    """Start a command in its own session, so that it outlives us; output goes to its log, which only grows."""
    with Path(command.log).open("ab") as log:
        child = subprocess.Popen(
            command.argv,
            cwd=directory,
            env={**os.environ, **command.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    child.returncode = 0  # it is not ours to wait for: the lab outlives its launcher
    return Process(command, child.pid, started_at(child.pid) or 0)


def end(processes: Iterable[Process]) -> None:
    """End processes: asked first, then made to. One that is stopped is woken so that it can hear it."""
    left = [process for process in processes if process.alive()]
    for number in (signal.SIGTERM, signal.SIGCONT):
        _signal(left, number)
    if not wait(lambda: not any(process.alive() for process in left), _GRACE_SECONDS):
        kill(left)


def kill(processes: Sequence[Process]) -> None:
    """End processes at once, as a crash would."""
    _signal(processes, signal.SIGKILL)
    wait(lambda: not any(process.alive() for process in processes), _GRACE_SECONDS)


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def tail(log: str) -> str:
    """The end of a log, for the person who wonders."""
    raw = Path(log).read_bytes()[-_TAIL_BYTES:] if Path(log).exists() else b""
    return raw.decode(errors="replace").strip()


def _signal(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        if process.alive():
            with suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(process.pid, number)
