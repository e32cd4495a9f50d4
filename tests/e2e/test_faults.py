"""A real engine dies, router and edge read their files again under load: no turn is lost, and afterwards everything is
as it was. Engines that die or hang under load are shown in tests/chaos.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import yaml
from aiohttp import ClientSession

from demo import conversation
from demo.paths import STACK_ROOT
from tests.e2e.conftest import HEALTHY_SECONDS, Demo, settled
from tests.support.containers import children, docker, killed, service
from tests.support.lab import Running, put
from tests.support.load import Conversation, Load, Outcome, conversations, homes, load
from tests.support.processes import wait_until
from tests.support.until import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

EVENTS = "ironrack_router_events_total"
SETTINGS = STACK_ROOT / "config" / "router" / "router.yml"
RELOADS = "ironrack_router_config_reloads_total"
# About four of each engine; a prompt and its answers stay far below what the tiny model can read.
SESSIONS = 8
SHORT = {"max_tokens": 16, "temperature": 0, "ignore_eos": True}
PAUSE_SECONDS = 0.3


@dataclass
class Busy:
    """The stack with conversations, and the engine that is home to each."""

    stack: Running
    load: Load
    talks: list[Conversation]
    home: dict[str, str]

    def strayed(self) -> list[Outcome]:
        """Turns away from home without a reason of their engine: full, or, on a busy machine, standing still."""
        places = {session: {engine} for session, engine in self.home.items()}
        for one in self.load.outcomes:
            if one.reason in {"spill", "retry", "eject"}:
                places[one.session].add(one.served_by)
        return [one for one in self.load.outcomes if one.served_by not in places[one.session]]

    def assert_nothing_failed(self) -> None:
        """Every turn was answered whole."""
        assert [one for one in self.load.outcomes if one.end != "ok"] == []


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
        found = Busy(Running(report, client), asking, talks, home)
        yield found
        await until(found.stack.idle, "no load is left at the router")


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


def test_conversation_leaves_a_dead_engine_and_comes_home(demo: Demo) -> None:
    """The other engine serves the next turn; the first serves again once it is back."""
    turns = demo.conversation()
    home = next(turns).served_by
    with killed(home):
        away = [next(turns), next(turns)]
        assert home not in {turn.served_by for turn in away}
        assert {turn.served_by for turn in away} <= {engine.name for engine in demo.stack.engines}
    wait_until(lambda: settled(demo.stack), f"{home} is back", HEALTHY_SECONDS)
    back = next(turns)
    assert (back.served_by, back.reason) == (home, "home")


def test_services_start_again_in_the_same_containers(demo: Demo) -> None:
    """What a reboot of the host does to edge and router: stopped and started, not made anew."""
    docker("restart", "edge", "router")
    wait_until(lambda: settled(demo.stack), "edge and router work again", 60)
    assert next(demo.conversation()).served_by


def _events(demo: Demo) -> float:
    return sum(value for name, value in conversation.samples(f"{demo.stack.router}/metrics") if name == EVENTS)
