"""Real engines die and hang, router and edge read their files again, under load: only streams a dead engine had begun
are lost, and afterwards everything is as it was.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import yaml
from aiohttp import ClientSession

from demo import conversation
from demo.paths import STACK_ROOT
from tests.e2e.conftest import HEALTHY_SECONDS, Demo, settled
from tests.support.containers import children, descendants, docker, killed, service, stopped
from tests.support.faults import seconds_to_ejection
from tests.support.lab import Running, put
from tests.support.load import Conversation, Load, Outcome, conversations, ends, homes, load
from tests.support.processes import wait_until
from tests.support.until import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

EVENTS = "ironrack_router_events_total"
SETTINGS = STACK_ROOT / "config" / "router" / "router.yml"
RELOADS = "ironrack_router_config_reloads_total"
# About four of each engine; a prompt and its answers stay far below what the tiny model can read.
SESSIONS = 8
SHORT = {"max_tokens": 16, "temperature": 0, "ignore_eos": True}
LONG_TOKENS = 1000
PAUSE_SECONDS = 0.3


@dataclass
class Busy:
    """The stack with conversations that each have a home. `mine`: those of `victim`, `others`: everybody else's."""

    stack: Running
    load: Load
    talks: list[Conversation]
    home: dict[str, str]
    victim: str

    @property
    def mine(self) -> list[Conversation]:
        """Whose home is the victim."""
        return [talk for talk in self.talks if self.home[talk.name] == self.victim]

    @property
    def others(self) -> list[Conversation]:
        """Whose home is another engine."""
        return [talk for talk in self.talks if self.home[talk.name] != self.victim]

    async def waits(self) -> bool:
        """Whether a request without a first byte is at the victim."""
        return bool((await self.stack.fleet())[self.victim]["uncached_tokens"])

    async def is_out(self) -> bool:
        """Whether the victim gets nothing."""
        return bool((await self.stack.fleet())[self.victim]["state"] == "ejected")

    async def are_home(self) -> bool:
        """Whether the victim serves its sessions again, one by one: all at once are too many for one that is back."""
        return {(await self.load.turn(talk)).served_by for talk in self.mine} == {self.victim}

    def strayed(self) -> list[Outcome]:
        """Turns away from home without a reason of their engine: full, or, on a busy machine, standing still."""
        places = {session: {engine} for session, engine in self.home.items()}
        for one in self.load.outcomes:
            if one.reason in {"spill", "retry", "eject"}:
                places[one.session].add(one.served_by)
        return [one for one in self.load.outcomes if one.served_by not in places[one.session]]

    def assert_nothing_failed(self, cut: int = 0) -> None:
        """Every turn was answered whole, but for so many streams of the victim."""
        wrong = [one for one in self.load.outcomes if one.end != "ok"]
        assert (ends(wrong)["failed"], len(wrong)) == (0, cut), wrong
        assert all(one.served_by == self.victim for one in wrong)


@pytest.fixture
async def busy(demo: Demo) -> AsyncIterator[Busy]:
    """Sessions at home with every engine; no request is left when the test is over."""
    engines = [{"name": engine.name, "url": engine.url} for engine in demo.stack.engines]
    report = {
        "endpoint": demo.stack.endpoint,
        "model": demo.stack.model,
        "engines": engines,
        "routers": [{"name": "router", "admin_url": demo.stack.router}],
    }
    async with ClientSession() as client, load(demo.stack.endpoint, demo.stack.model, **SHORT) as asking:
        talks = conversations(SESSIONS, f"f{uuid.uuid4().hex[:6]}", words=20)
        home = homes(await asking.rounds(talks, 1))
        engine = max(set(home.values()), key=list(home.values()).count)
        found = Busy(Running(report, client), asking, talks, home, engine)
        assert found.others, "every session is at one engine"
        yield found
        await until(found.stack.idle, "no load is left at the router")


async def test_engine_killed_with_requests_in_flight_fails_nothing_and_sessions_come_home(
    demo: Demo, busy: Busy
) -> None:
    """kill -9: the stream it had begun is cut, what waited for a first byte is answered by the other; it comes back."""
    speaking, *waiting = busy.mine
    process = await asyncio.to_thread(service, busy.victim)
    async with busy.load.running(busy.others, PAUSE_SECONDS), asyncio.TaskGroup() as group:
        spoken = group.create_task(busy.load.turn(speaking, max_tokens=LONG_TOKENS))
        await until(lambda: busy.load.hears(speaking), "it has begun to answer", 30)
        # Stopped first, so that requests wait there for certain when it dies.
        async with stopped(process):
            moved = group.create_task(busy.load.rounds(waiting, 1))
            await until(busy.waits, "a request waits at it beside the one it answers")
            os.kill(process, signal.SIGKILL)
        await until(moved.done, "what waited there is served", 30)
        away = await busy.load.rounds(busy.mine, 1)
    assert (spoken.result().end, spoken.result().served_by) == ("cut", busy.victim)
    assert busy.victim not in {one.served_by for one in [*moved.result(), *away]}
    assert "retry" in {one.reason for one in moved.result()}
    await until(lambda: asyncio.to_thread(settled, demo.stack), "it was started again", HEALTHY_SECONDS)
    await until(busy.are_home, "its sessions come home", 60)
    busy.assert_nothing_failed(cut=1)


async def test_engine_that_hangs_is_ejected_what_waits_there_is_served_and_it_comes_back(busy: Busy) -> None:
    """Stopped: requests without a first byte move, the stream it had begun goes on when it does, sessions return."""
    speaking, *waiting = busy.mine
    # Not `docker pause`: it needs a kernel's freezer, which not every machine gives.
    processes = descendants(await asyncio.to_thread(service, busy.victim))
    async with busy.load.running(busy.others, PAUSE_SECONDS), asyncio.TaskGroup() as group:
        spoken = group.create_task(busy.load.turn(speaking, max_tokens=LONG_TOKENS))
        await until(lambda: busy.load.hears(speaking), "it has begun to answer", 30)
        async with stopped(*processes):
            moved = group.create_task(busy.load.rounds(waiting, 1))
            await until(busy.is_out, "it is ejected", seconds_to_ejection(SETTINGS, silent=True))
            await until(moved.done, "what waited there is served", 30)
    assert busy.victim not in {one.served_by for one in moved.result()}
    assert "retry" in {one.reason for one in moved.result()} <= {"retry", "eject"}
    assert spoken.result().served_by == busy.victim
    await until(busy.are_home, "it serves its sessions again", 60)
    busy.assert_nothing_failed()


async def test_router_takes_a_good_file_and_refuses_a_bad_one_under_load(busy: Busy) -> None:
    """The last good settings stay in force and a metric says so; no turn fails, every session stays."""
    good = SETTINGS.read_text()
    settings = yaml.safe_load(good)
    settings["routing"]["gate_seconds"] += 0.25
    before = {result: await busy.stack.metric(RELOADS, result=result) for result in ("ok", "failed")}

    async def counted(result: str, more: int) -> bool:
        return await busy.stack.metric(RELOADS, result=result) >= before[result] + more

    try:
        async with busy.load.running(busy.talks, PAUSE_SECONDS):
            put(SETTINGS, yaml.safe_dump(settings))
            await until(lambda: counted("ok", 1), "the good file is in force")
            put(SETTINGS, "engines: [")
            await until(lambda: counted("failed", 1), "the bad file is refused")
            assert await busy.stack.metric("ironrack_router_config_reload_success") == 0
            await busy.load.go_on(SESSIONS)
            put(SETTINGS, good)
            await until(lambda: counted("ok", 2), "the good file is in force again")
            await busy.load.go_on(SESSIONS)
    finally:
        put(SETTINGS, good)
    assert await busy.stack.metric("ironrack_router_config_reload_success") == 1
    assert busy.strayed() == []
    busy.assert_nothing_failed()


async def test_edge_reloaded_again_and_again_under_load_fails_and_cuts_nothing(busy: Busy) -> None:
    """Told as a deploy tells it: a new process takes what is new, the old one finishes what it has and ends."""
    master = await asyncio.to_thread(service, "edge")
    async with busy.load.running(busy.talks, PAUSE_SECONDS):
        for _ in range(3):
            before = children(master)
            await asyncio.to_thread(docker, "kill", "--signal", "USR2", "edge")
            await until(lambda before=before: bool(children(master) - before), "a new process works")  # type: ignore[misc]  # a lambda has no types
            await busy.load.go_on(SESSIONS)
    assert busy.strayed() == []
    busy.assert_nothing_failed()


def test_conversation_goes_on_without_the_router(demo: Demo) -> None:
    """With the router killed the edge keeps each conversation with its engine; the router back decides and hears."""
    turns = demo.conversation()
    home = next(turns).served_by
    with killed("router"):
        alone = [next(turns), next(turns)]
    assert [(turn.served_by, turn.reason) for turn in alone] == [(home, "fallback")] * 2
    wait_until(lambda: settled(demo.stack), "the router decides again", 60)
    assert next(turns).reason != "fallback"
    wait_until(lambda: _events(demo) > 0, "the router hears again how requests end", 60)


def test_services_start_again_in_the_same_containers(demo: Demo) -> None:
    """What a reboot of the host does to edge and router: stopped and started, not made anew."""
    docker("restart", "edge", "router")
    wait_until(lambda: settled(demo.stack), "edge and router work again", 60)
    assert next(demo.conversation()).served_by


def _events(demo: Demo) -> float:
    return sum(value for name, value in conversation.samples(f"{demo.stack.router}/metrics") if name == EVENTS)
