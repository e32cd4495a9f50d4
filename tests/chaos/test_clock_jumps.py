"""The host's wall clock jumps by an hour under load, forward and back: nothing but what tells the time notices."""

import asyncio
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.clock import WallClock
from tests.support.deciders import Deciders, deciding
from tests.support.load import at_home, conversations, ends, homes, since
from tests.support.logs import json_lines
from tests.support.until import until

pytestmark = pytest.mark.lab

HOUR = 3600
NEAR = 600  # seconds: far from an hour, and longer than any machine is slow
DURATIONS = ("ironrack_router_request_seconds", "ironrack_router_first_byte_seconds", "ironrack_router_queue_seconds")


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """The clock of everything that the test starts."""
    clock = WallClock(tmp_path)
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    return clock


async def test_clock_jumps_under_load_fail_nothing_and_sessions_stay(clock: WallClock, tmp_path: Path) -> None:
    """Engines, routers and edge live through +1 h and -1 h: every turn is whole and at home, no engine is doubted."""
    async with deciding(tmp_path / "lab", 2, 3, "--decode-seconds", "0.004") as lab:
        talks = conversations(18, "s")
        await lab.load.rounds(talks, 2)
        home, began = homes(lab.load.outcomes), asyncio.get_running_loop().time()
        async with lab.load.running(talks):
            for ahead in (HOUR, 0, -HOUR):
                await lab.load.go_on(36)
                clock.jump_to(ahead)
                await until(partial(_live_at, lab, ahead), f"all of them live {ahead} s ahead", 20)
                await lab.load.go_on(72)
        assert ends(lab.load.outcomes) == {"ok": len(lab.load.outcomes)}
        assert at_home(since(lab.load.outcomes, began), home) == 1.0
        await until(lab.idle, "no load is left at any router", 20)
        assert await _leases(lab) == 0
        assert await _ejections(lab) == 0
        assert await _longest(lab) < NEAR


async def _live_at(lab: Deciders, ahead: int) -> bool:
    """Whether edge and routers show the time that they were given: else the test would show nothing."""

    def near(moment: object) -> bool:
        return abs(float(str(moment)) - time.time_ns() / 1e9 - ahead) < NEAR

    if not near(json_lines(lab.lab.state / "logs" / "edge.log")[-1]["ts"]):
        return False
    for router in lab.urls:
        lab.lab.signal(router, signal.SIGHUP)  # it says when it last read its file
    read = "ironrack_router_config_last_success_timestamp_seconds"
    return all([near(await lab.metric(url, read)) for url in lab.urls.values()])


async def _leases(lab: Deciders) -> float:
    return sum([await lab.metric(url, "ironrack_router_leases") for url in lab.urls.values()])


async def _ejections(lab: Deciders) -> float:
    return sum([await lab.metric(url, "ironrack_router_engine_ejections_total") for url in lab.urls.values()])


async def _longest(lab: Deciders) -> float:
    """More than anything can have taken if all that was measured is added up: an hour in it would show."""
    found = [await lab.metric(url, f"{name}_sum") for url in lab.urls.values() for name in DURATIONS]
    return max(found)
