"""Several routers beside one edge: each session has one of them, they know each other's load, one may be lost."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.deciders import Deciders, deciding
from tests.support.load import at_home, conversations, ends, homes, since
from tests.support.until import until

pytestmark = pytest.mark.lab

Start = Callable[..., Awaitable[Deciders]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a lab with so many routers and engines."""
    async with AsyncExitStack() as stack:

        async def begin(deciders: int, engines: int, *options: str) -> Deciders:
            return await stack.enter_async_context(deciding(tmp_path / "lab", deciders, engines, *options))

        yield begin


@pytest.mark.parametrize("header", ["x-session-id", ""])
async def test_every_turn_of_a_session_meets_one_decider(start: Start, header: str) -> None:
    """Named or not, a session is new once and then at home: whoever decided its first turn decides the others."""
    lab = await start(3, 3)
    outcomes = await lab.load.rounds(conversations(24, "s", header=header), 4)
    assert ends(outcomes) == {"ok": 96}
    assert Counter(one.reason for one in outcomes) == {"new": 24, "home": 72}
    assert sum((await lab.decisions("new")).values()) == 24
    assert min((await lab.decisions("home")).values()) > 0
    await until(lab.idle, "every line was read by the router that decided", 20)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_losing_one_decider_fails_nothing_and_sessions_stay_home(start: Start, how: signal.Signals) -> None:
    """Its sessions are decided by another one, which learns from the edge's table where they are at home."""
    lab = await start(3, 3, "--decode-seconds", "0.004")
    talks = conversations(30, "s")
    await lab.load.rounds(talks, 2)
    home, began = homes(lab.load.outcomes), asyncio.get_running_loop().time()

    async with lab.load.running(talks):
        await lab.load.go_on(30, 60)
        lab.lab.signal("router-1", how)
        await lab.load.go_on(150, 60)
        await asyncio.to_thread(lab.lab.restart, "router-1")
        await lab.load.go_on(150, 60)
    assert ends(lab.load.outcomes) == {"ok": len(lab.load.outcomes)}
    assert at_home(since(lab.load.outcomes, began), home) >= 0.95
    await until(lab.idle, "no load is left at any router", 20)


async def test_deciders_see_what_others_have_sent(start: Start) -> None:
    """A request that one router decided counts at all of them while it runs, once."""
    lab = await start(3, 2, "--decode-seconds", "0.2")
    talks = conversations(6, "s", words=20)

    async def seen() -> bool:
        """Whether every router counts all six, its own and those of others together."""
        found = [await lab.engines(url) for url in lab.urls.values()]
        return {sum(one["in_flight"] + one["foreign_in_flight"] for one in engines) for engines in found} == {6}

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(lab.load.rounds(talks, 1))
        await until(seen, "all see all", 20)
    assert ends(task.result()) == {"ok": 6}
    await until(lab.idle, "nothing is left", 20)


async def test_drain_at_one_decider_holds_for_all(start: Start) -> None:
    """An operator asks one of them; the others learn it from the edge, and so does the end of it."""
    lab = await start(2, 2)
    first = lab.urls["router"]

    async def draining() -> bool:
        found = [one for url in lab.urls.values() for one in await lab.engines(url) if one["name"] == "engine-sim-0"]
        return [one["draining"] for one in found] == [verb == "drain"] * 2

    for verb in ("drain", "undrain"):
        async with lab.lab.client.post(f"{first}/admin/engines/engine-sim-0/{verb}") as response:
            assert response.status == 200
        await until(draining, f"{verb} holds everywhere", 20)
        outcomes = await lab.load.rounds(conversations(8, verb), 1)
        assert ends(outcomes) == {"ok": 8}
        if verb == "drain":
            assert {one.served_by for one in outcomes} == {"engine-sim-1"}
