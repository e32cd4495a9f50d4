"""The order of a whole run, and what of it may run side by side.

One process after another: cheap checks first, then processes, then the real stack, then host containers. Several
processes (`scripts/test` without arguments): first the two that must stay in one process, beside them the rest.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# Property tests judge results, never the speed of the machine they happen to run on.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

STAGES = ("lab", "e2e", "docker")
# What measures its own processes, or has the fixed ports of the real stack, runs in one process each.
STACK, PROCESSES = "stack", "processes"
OF_PROCESSES = ("tests/edge/", "tests/integration/", "tests/chaos/", "tests/lab/", "tests/observe/")


def _stage(item: pytest.Item) -> int:
    return max((STAGES.index(mark.name) + 1 for mark in item.iter_markers() if mark.name in STAGES), default=0)


def _group(item: pytest.Item) -> str:
    """Which tests share a process; nothing for what may run alone anywhere."""
    if item.get_closest_marker("docker"):
        return ""
    if item.get_closest_marker("e2e"):
        return STACK
    return PROCESSES if item.nodeid.startswith(OF_PROCESSES) else item.nodeid.split("::")[0]


def _turn(group: str) -> int:
    return [STACK, PROCESSES].index(group) if group in {STACK, PROCESSES} else 2 + (not group)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the random order inside a stage, so that a typing mistake does not wait for an image to build."""
    if not hasattr(config, "workerinput"):
        items.sort(key=_stage)
        return
    items.sort(key=lambda item: _turn(_group(item)))
    for item in items:
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))
