"""The router is gone, or does not answer: the edge carries on by itself."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.conftest import Start
from tests.support.faults import Fault, stopped
from tests.support.lab import Lab
from tests.support.load import Conversation, Load, at_home, conversations, ends, homes, since
from tests.support.until import until

pytestmark = pytest.mark.lab
_STOPPED_SECONDS = 5.0
FAST = ("--decode-seconds", "0.004")


async def _alone(load: Load, since: float) -> None:
    """Longer than an engine may stand still, and until sessions have grown by more than anybody could compute twice."""
    clock = asyncio.get_running_loop().time
    await until(lambda: clock() - since > _STOPPED_SECONDS, f"{_STOPPED_SECONDS} seconds are over", 30)
    await load.go_on(24 * 8)


async def _decides_again(load: Load, sessions: int) -> None:
    def latest() -> bool:
        return all(outcome.reason == "home" for outcome in load.outcomes[-sessions:])

    await until(latest, "the router decides again and every session is at home", 20)


@asynccontextmanager
async def killed(lab: Lab, name: str) -> AsyncIterator[None]:
    """It is dead, and started again after the block."""
    lab.signal(name, signal.SIGKILL)
    yield
    await asyncio.to_thread(lab.restart, name)


@pytest.mark.parametrize("lose", [killed, stopped])
async def test_router_lost_under_load_fails_nothing_and_keeps_sessions_home(start: Start, lose: Fault) -> None:
    """A dead or a silent router costs no request, at least 95 % of sessions stay, and it takes over when it is back."""
    lab, load = await start(4, *FAST)
    talks: list[Conversation] = conversations(24, "s")
    await load.rounds(talks, 3)
    home = homes(load.outcomes)
    clock = asyncio.get_running_loop().time
    async with load.running(talks):
        await load.go_on(24)
        lost = clock()
        async with lose(lab, "router"):
            await _alone(load, lost)
            alone = since(load.outcomes, lost)
        await _decides_again(load, len(talks))
        await load.go_on(len(talks))
    assert ends(load.outcomes) == {"ok": len(load.outcomes)}
    assert Counter(outcome.reason for outcome in alone)["fallback"] > len(alone) / 2
    # Gone, and back with an empty memory: neither costs a session its cache.
    assert at_home(since(load.outcomes, lost), home) >= 0.95
    await until(lab.idle, "no load is left at the router")
