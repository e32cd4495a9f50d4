"""The order of a whole run: cheap checks first, then processes, then the real stack, then host containers."""

from __future__ import annotations

import pytest

STAGES = ("lab", "e2e", "docker")


def _stage(item: pytest.Item) -> int:
    return max((STAGES.index(mark.name) + 1 for mark in item.iter_markers() if mark.name in STAGES), default=0)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the random order inside a stage, so that a typing mistake does not wait for an image to build."""
    items.sort(key=_stage)
