"""What can be done with a lab that was started."""

from pathlib import Path
from typing import Any

from tests.lab import processes, state
from tests.lab.errors import LabError
from tests.lab.starting import start
from tests.lab.state import State


def down(directory: Path) -> int:
    """End exactly what `up` started; how many processes that were."""
    with state.locked(directory):
        return end_saved(directory)


def status(directory: Path) -> dict[str, Any]:
    """The report, with what runs and what does not."""
    found = _need(directory)
    return {**found.report, "running": {one.command.name: one.alive() for one in found.processes}}


def kill(directory: Path, name: str) -> dict[str, Any]:
    """End one process as a crash would."""
    with state.locked(directory):
        processes.kill([_need(directory).process(name)])
    return status(directory)


def restart(directory: Path, name: str) -> dict[str, Any]:
    """Start one process again, ending it first if it still runs; returns when it answers."""
    with state.locked(directory):
        found = _need(directory)
        old = found.process(name)
        processes.end([old])
        start(directory, [old.command], found)
    return status(directory)


def _need(directory: Path) -> State:
    found = state.load(directory)
    if found is None:
        raise LabError(f"{directory}: no lab here: start one with `scripts/lab up`")
    return found


def end_saved(directory: Path) -> int:
    """End what the state of a directory names, and forget it; how many processes still ran."""
    found = state.load(directory)
    alive = [process for process in found.processes if process.alive()] if found else []
    processes.end(alive)
    state.forget(directory)
    return len(alive)
