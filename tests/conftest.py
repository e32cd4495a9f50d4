"""The order of a whole run, and what of it may run side by side.

One process after another: cheap checks first, then processes, then the real stack, then host containers. Several
processes (`scripts/test` without arguments): first the two that must stay in one process, then the scenarios, longest
first, and last what takes seconds: so the processes end at about the same time.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.support.scenarios import LONG

# Property tests judge results, never the speed of the machine they happen to run on.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

STAGES = ("lab", "e2e", "docker")
# What measures its own processes, or has the fixed ports of the real stack, runs in one process each.
STACK, PROCESSES = "stack", "processes"
OF_STACK, ALONE = "tests/e2e/", "tests/molecule/"
SCENARIO = "tests/molecule/test_scenarios.py::test_molecule_scenario_holds["
# The stack is first looked at as it was brought up, then broken, and taken away at last.
IN_ORDER = (
    "tests/e2e/test_demo.py",
    "",
    "tests/e2e/test_faults.py",
    "tests/e2e/test_engine_faults.py",
    "tests/e2e/test_removed.py",
)
OF_PROCESSES = ("tests/edge/", "tests/integration/", "tests/chaos/", "tests/lab/", "tests/observe/")


def _stage(item: pytest.Item) -> int:
    return max((STAGES.index(mark.name) + 1 for mark in item.iter_markers() if mark.name in STAGES), default=0)


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """What shares a process, by where a test stands: xdist 3.8 does not see its own marker under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Hand out whole groups, in the order of the list."""
    return Groups(config, log)


def _group(nodeid: str) -> str:
    """Which tests share a process; one of its own for a scenario, which may run alone anywhere."""
    if nodeid.startswith(OF_STACK):
        return STACK
    if nodeid.startswith(OF_PROCESSES):
        return PROCESSES
    return nodeid if nodeid.startswith(ALONE) else nodeid.split("::", maxsplit=1)[0]


def _turn(nodeid: str) -> int:
    group = _group(nodeid)
    first = [STACK, PROCESSES, *(f"{SCENARIO}{name}]" for name in LONG)]
    return first.index(group) if group in first else len(first) + (not group.startswith(SCENARIO))


def _act(nodeid: str) -> int:
    """When its turn comes among the tests of the stack."""
    file = nodeid.split("::", maxsplit=1)[0]
    return IN_ORDER.index(file if file in IN_ORDER else "")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the random order inside a stage, so that a typing mistake does not wait for an image to build."""
    if not hasattr(config, "workerinput"):
        items.sort(key=lambda item: (_stage(item), _act(item.nodeid)))
        return
    items.sort(key=lambda item: (_turn(item.nodeid), _act(item.nodeid)))
