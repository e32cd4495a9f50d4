"""Starting the processes of a lab and waiting until they answer."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.lab import processes, state
from tests.lab.errors import LabError
from tests.lab.processes import ROOT, Command, Process
from tests.lab.state import State

_READY_SECONDS = 60.0
# A proxy that the environment names is not for loopback.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def start(directory: Path, commands: Sequence[Command], started: State) -> State:
    """Start commands together; returns the state with them once all answer."""
    fresh = []
    for command in commands:
        process = processes.spawn(command, ROOT)
        fresh.append(process)
        started = started.put(process)
        # At once, so that even a launcher that is killed here leaves a lab that `down` can end.
        state.save(directory, started)
    for process in fresh:
        _await_ready(process)
    return started


def _await_ready(process: Process) -> None:
    command = process.command
    processes.wait(lambda: not process.alive() or _answers(command.ready_url), _READY_SECONDS)
    if not process.alive():
        raise LabError(
            f"{command.name}: ended while starting; the end of {command.log}:\n{processes.tail(command.log)}"
        )
    if not _answers(command.ready_url):
        said = processes.tail(command.log)
        raise LabError(
            f"{command.name}: {command.ready_url} not 200 within {_READY_SECONDS:g} s; {command.log}:\n{said}"
        )


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
