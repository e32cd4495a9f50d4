"""What a lab remembers between commands: its processes and the report, in one file under its state directory."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.lab.errors import LabError
from tests.lab.processes import Command, Process


@dataclass(frozen=True, slots=True)
class State:
    """A lab that was started."""

    processes: tuple[Process, ...]
    report: dict[str, Any]

    def process(self, name: str) -> Process:
        """One process by name; `router` and `edge` are names too."""
        for process in self.processes:
            if process.command.name == name:
                return process
        known = ", ".join(process.command.name for process in self.processes)
        raise LabError(f"{name}: no such process: this lab has {known}")

    def put(self, process: Process) -> "State":
        """The state with a process added, or in place of the one it restarts."""
        name = process.command.name
        others = [one for one in self.processes if one.command.name != name]
        return replace(self, processes=(*others, process), report=_with_pid(self.report, name, process.pid))


def save(directory: Path, state: State) -> None:
    """Write the state as a whole or not at all."""
    target, draft = directory / "state.json", directory / "state.json.new"
    draft.write_text(json.dumps(asdict(state), indent=1))
    os.replace(draft, target)


def load(directory: Path) -> State | None:
    """The state of the lab in a directory; None if there is none."""
    try:
        data = json.loads((directory / "state.json").read_text())
    except FileNotFoundError:
        return None
    except ValueError as problem:
        raise LabError(
            f"{directory}/state.json: not readable ({problem}): end its processes and delete it"
        ) from problem
    found = (Process(Command(**one["command"]), one["pid"], one["started"]) for one in data["processes"])
    return State(tuple(found), data["report"])


def forget(directory: Path) -> None:
    """Remove the state: the lab is no more. Logs and configurations stay, to be read."""
    (directory / "state.json").unlink(missing_ok=True)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a lab's directory alone, so that two commands never change one lab at once."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _with_pid(report: dict[str, Any], name: str, pid: int) -> dict[str, Any]:
    def mend(entry: Any) -> Any:
        return {**entry, "pid": pid} if isinstance(entry, dict) and entry.get("name") == name else entry

    return {
        key: [mend(one) for one in value] if isinstance(value, list) else mend(value) for key, value in report.items()
    }
