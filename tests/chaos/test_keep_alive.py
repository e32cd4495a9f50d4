"""Turns that come just when the engine gives up the idle connection: the edge must not hand the race on to a client."""

import asyncio
import random

import pytest

from tests.chaos.conftest import Start
from tests.support.load import Conversation, Load, conversations, ends
from tests.support.until import until

pytestmark = pytest.mark.lab
# The bench runs the same for an hour, around 5 s and around 15 s; here the engines let go after one second.
KEEP_ALIVE_SECONDS = 1
TURNS = 6
FAST = ("--decode-seconds", "0.001", "--answer-tokens", "2", "--prefill-rate", "10000000")


@pytest.mark.parametrize(("sessions", "words"), [(40, 50), (4, 20_000)], ids=["small", "beyond the buffer"])
async def test_pauses_around_the_engines_keep_alive_fail_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch, sessions: int, words: int
) -> None:
    """Whether the edge can send the body again or not: every turn is answered."""
    monkeypatch.setenv("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", str(KEEP_ALIVE_SECONDS))
    lab, load = await start(2, *FAST)
    rng = random.Random(5)
    talks = conversations(sessions, "s", words=words)
    async with asyncio.TaskGroup() as group:
        for talk in talks:
            pauses = [rng.uniform(KEEP_ALIVE_SECONDS - 0.05, KEEP_ALIVE_SECONDS + 0.05) for _ in range(TURNS)]
            group.create_task(_hold(load, talk, pauses))
    assert ends(load.outcomes) == {"ok": len(talks) * TURNS}, [one for one in load.outcomes if one.end != "ok"]
    await until(lab.idle, "no load is left at the router")


async def _hold(load: Load, talk: Conversation, pauses: list[float]) -> None:
    for pause in pauses:
        await load.turn(talk)
        await asyncio.sleep(pause)
