"""One data plane for the tests that break nothing, a fresh one for each test that does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import wait_until
from tests.support.stack import Stack, edge_config

Start = Callable[..., Stack]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two models, two engines each; left as it was found."""
    stack = Stack(tmp_path_factory.mktemp("edge"), edge_config({"tiny": 2, "org/big": 2}))
    try:
        stack.start()
        yield stack
        wait_until(lambda: not _counted(stack), "of all requests of all tests the router counts none any more")
    finally:
        stack.stop()


def _counted(stack: Stack) -> int:
    port = int(stack.config["deciders"][0]["http"].rpartition(":")[2])
    engines = json.loads(stack.get("/admin/engines", port).body)["engines"]
    return sum(int(engine["in_flight"]) for engine in engines)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a data plane of this test's own: engines per model, changes to the edge's configuration."""
    started: list[Stack] = []

    def build(
        models: dict[str, int] | None = None,
        keep_alive_seconds: float = 600.0,
        headers: dict[str, str] | None = None,
        **changes: Any,
    ) -> Stack:
        folder = tmp_path / f"stack-{len(started)}"
        folder.mkdir()
        stack = Stack(folder, edge_config(models or {"tiny": 2}, **changes), keep_alive_seconds, headers or {})
        started.append(stack)
        stack.start()
        return stack

    try:
        yield build
    finally:
        for stack in started:
            stack.stop()
