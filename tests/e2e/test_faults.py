"""Router and edge read their files again under load, die and start again: no turn is lost, and afterwards everything is
as it was. Engines that break are in test_engine_faults.py.
"""

from __future__ import annotations

import asyncio

import pytest
import yaml

from demo import conversation
from tests.e2e.busy import PAUSE_SECONDS, SESSIONS, SETTINGS, Busy
from tests.e2e.conftest import Demo, settled
from tests.support.containers import children, docker, killed, service
from tests.support.lab import put
from tests.support.processes import wait_until
from tests.support.until import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

EVENTS = "ironrack_router_events_total"


async def test_router_takes_a_good_file_and_refuses_a_bad_one_under_load(busy: Busy) -> None:
    """The last good settings stay in force and a metric says so; no turn fails, every session stays."""
    good = SETTINGS.read_text()
    settings = yaml.safe_load(good)
    settings["routing"]["gate_seconds"] += 0.25
    try:
        async with busy.load.running(busy.talks, PAUSE_SECONDS):
            await busy.configure(yaml.safe_dump(settings))
            await busy.configure("engines: [", "failed")
            assert await busy.stack.metric("ironrack_router_config_reload_success") == 0
            await busy.load.go_on(SESSIONS)
            await busy.configure(good)
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
