"""The recorded hosts of tests/fixtures/hosts, as hostplan takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hostplan import Intent, Plan, State, plan

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "fixtures" / "hosts" / "host_vars"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))


def variables(name: str) -> dict[str, Any]:
    """What the inventory says of a host."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    return found


def recorded(name: str, **changed: Any) -> State:
    """The host's state, with some of it replaced."""
    return State.of(variables(name)["gpu_driver_recorded"] | changed)


def intent(name: str, **changed: Any) -> Intent:
    """What the inventory asks for on a host, with some of it replaced."""
    asked = {key.removeprefix("gpu_driver_"): value for key, value in variables(name).items()}
    return Intent.of(asked | changed)


def planned(name: str, state: dict[str, Any] | None = None, **asked: Any) -> Plan:
    """The plan for a recorded host; `state` and `asked` replace parts of recording and variables."""
    return plan(recorded(name, **(state or {})), intent(name, **asked))
