"""A new lab: everything is checked before anything starts, and whatever fails, nothing of it stays."""

import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import state
from tests.lab.errors import LabError
from tests.lab.starting import start
from tests.lab.state import State
from tests.lab.topology import LOOPBACK, Lab, Wanted, design, report
from tests.lab.verbs import end_saved

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
            for batch in ([*lab.engines, *lab.routers], [lab.edge]):
                started = start(wanted.state, batch, started)
        except BaseException:  # an interrupt must leave nothing running either
            end_saved(wanted.state)
            raise
        pids = {process.command.name: process.pid for process in started.processes}
        started = State(started.processes, report(lab, wanted, pids))
        state.save(wanted.state, started)
        return started.report


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
