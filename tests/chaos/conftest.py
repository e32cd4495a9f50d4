"""Labs and load for the tests of what breaks."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession

from router.edge import EdgeSocket
from tests.support.lab import Lab, started
from tests.support.load import Load, load
from tests.support.until import until

Start = Callable[..., Awaitable[tuple[Lab, Load]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a lab with so many engines, and a load client for it."""
    async with AsyncExitStack() as stack:

        async def begin(engines: int, *options: str) -> tuple[Lab, Load]:
            report = stack.enter_context(started(tmp_path / "lab", engines, *options))
            client = await stack.enter_async_context(ClientSession())
            lab = Lab(tmp_path / "lab", report, client)
            await until(lab.all_ready, "every engine is ready", 30)
            return lab, await stack.enter_async_context(load(lab.endpoint, lab.model))

        yield begin


def busiest(home: dict[str, str]) -> str:
    """The engine that is home to the most sessions."""
    return max(set(home.values()), key=list(home.values()).count)


async def drained_at_edge(lab: Lab) -> set[str]:
    """The engines that the edge gives nothing new."""
    servers = await EdgeSocket(str(lab.state / "haproxy.sock")).servers()
    return {name for (_, name), state in servers.items() if state.drained}
