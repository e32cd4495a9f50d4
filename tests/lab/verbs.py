"""What can be done with a lab."""

import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import processes, state
from tests.lab.errors import LabError
from tests.lab.processes import Command, Process
from tests.lab.state import State
from tests.lab.topology import LOOPBACK, ROOT, Lab, Wanted, design, report

_READY_SECONDS = 60.0
_OLDEST = (2, 6)
_OLDEST_TEXT = "HAProxy 2.6 or newer is needed"


def haproxy(path: str | None) -> tuple[str, str]:
    """The HAProxy to run, and its version as `major.minor`."""
    name = path or "haproxy"
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not found:
        raise LabError(f"{name}: not found: {_OLDEST_TEXT}; apt-get install haproxy, or give --haproxy PATH")
    said = subprocess.run([found, "-v"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"version (\d+)\.(\d+)", said)
    if not version or (int(version[1]), int(version[2])) < _OLDEST:
        raise LabError(f"{found}: says {said[:60]!r}: {_OLDEST_TEXT}; give --haproxy PATH")
    return found, f"{version[1]}.{version[2]}"


def up(wanted: Wanted) -> dict[str, Any]:
    """Start a lab and wait until it serves; whatever fails, nothing of it stays."""
    with state.locked(wanted.state):
        _refuse_second(wanted.state)
        lab = design(wanted)
        _refuse_taken(lab.ports)
        _write(wanted, lab)
        started = State((), {})
        try:
            for batch in ([*lab.engines, lab.router], [lab.edge]):
                started = _start(wanted.state, batch, started)
        except BaseException:
            _end_saved(wanted.state)
            raise
        pids = {process.command.name: process.pid for process in started.processes}
        started = State(started.processes, report(lab, wanted, pids))
        state.save(wanted.state, started)
        return started.report


def down(directory: Path) -> int:
    """End exactly what `up` started; how many processes that were."""
    with state.locked(directory):
        return _end_saved(directory)


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
        _start(directory, [old.command], found)
    return status(directory)


def _start(directory: Path, commands: Sequence[Command], started: State) -> State:
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
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _write(wanted: Wanted, lab: Lab) -> None:
    (wanted.state / "logs").mkdir(exist_ok=True)
    for command in lab.commands:
        Path(command.log).unlink(missing_ok=True)
    for path, text in lab.files.items():
        path.write_text(text)
    config = str(wanted.state / "haproxy.cfg")
    check = subprocess.run([wanted.haproxy, "-c", "-f", config], capture_output=True, text=True, check=False)
    if check.returncode:
        raise LabError(f"{config}: {wanted.haproxy} does not accept it:\n{check.stdout}{check.stderr}".strip())


def _refuse_second(directory: Path) -> None:
    found = state.load(directory)
    if found and any(process.alive() for process in found.processes):
        where = found.report.get("endpoint", "half started")
        raise LabError(
            f"{directory}: a lab runs here ({where}): one lab per state directory; "
            "see it with `scripts/lab status`, end it with `scripts/lab down`, or give --state and --port for another"
        )


def _refuse_taken(ports: Sequence[int]) -> None:
    taken = [str(port) for port in sorted(ports) if not _free(port)]
    if taken:
        raise LabError(
            f"ports {', '.join(taken)}: already taken on {LOOPBACK}: a lab needs them all; give another --port"
        )


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _need(directory: Path) -> State:
    found = state.load(directory)
    if found is None:
        raise LabError(f"{directory}: no lab here: start one with `scripts/lab up`")
    return found


def _end_saved(directory: Path) -> int:
    found = state.load(directory)
    alive = [process for process in found.processes if process.alive()] if found else []
    processes.end(alive)
    state.forget(directory)
    return len(alive)
