"""Real engines under load are killed, freeze or fall silent, and clients hang up on them.

Only streams that a killed engine had begun are lost, and break off so that their clients see it. What waited for a
first byte is answered by the other engine; the broken one is asked nothing while it is out, and has its sessions again
when it is back. The tiny model answers in a moment, so nothing here has to catch an answer half way: the load goes on
through the fault, and one session asks when the engine is already broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import ClientSession

from demo.deployed import Stack
from tests.e2e.busy import AWAY, PAUSE_SECONDS, SESSIONS, Busy, victim, wide_gate
from tests.e2e.conftest import HEALTHY_SECONDS, Demo
from tests.support.containers import frozen, kill_nine
from tests.support.faults import blackholed, need_iptables
from tests.support.lab import Running, metric
from tests.support.load import Outcome, ends
from tests.support.until import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

RUNNING, GENERATED = "vllm:num_requests_running", "vllm:generation_tokens_total"
# By every reason but a client that left: this vLLM counts those nowhere.
ENDED = "vllm:request_success_total"
# Slower while an engine starts: it needs the same few cores, and one that has just answered keeps its core awake.
SLOW_PAUSE_SECONDS = 5.0
AT_ONCE = 4
# What the tiny model can read, less a prompt of a few words.
LONG_TOKENS = 4000

Hang = Callable[[Running, str], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def stopped(_: Running, engine: str) -> AsyncIterator[None]:
    """None of its processes runs; its kernel still takes every packet."""
    with frozen(engine):
        yield


async def test_engine_killed_under_load_costs_only_streams_it_had_begun(busy: Busy) -> None:
    """kill -9 while requests wait there: the other answers them; Docker starts it again and its sessions come home."""
    engine = await victim(busy)
    async with wide_gate(busy):
        async with busy.load.running(engine.others, PAUSE_SECONDS), asyncio.TaskGroup() as group:
            await busy.load.go_on(SESSIONS)
            # Stopped first, so that requests wait there for certain when it dies.
            with frozen(engine.name):
                moved = group.create_task(busy.load.turn(engine.waiting))
                await until(engine.has_requests, "a request waits at it")
                died = asyncio.get_running_loop().time()
                kill_nine(engine.name)
            await until(moved.done, "what waited there is served", 30)
            await until(engine.is_out, "it is ejected")
            await engine.assert_asked_nothing()
        async with busy.load.running(engine.others, SLOW_PAUSE_SECONDS):
            # Nothing else is asked meanwhile whether it is back: the answer would cost what its start needs.
            await engine.gets_its_sessions_back(HEALTHY_SECONDS)
    _assert_moved(busy, moved.result(), engine.name)
    cut = [one for one in busy.load.outcomes if one.end != "ok"]
    assert ends(cut)["failed"] == 0, cut
    assert all(one.served_by == engine.name and one.began < died and one.error for one in cut), cut


@pytest.mark.parametrize("hang", [stopped, blackholed])
async def test_engine_that_hangs_under_load_fails_nothing(busy: Busy, hang: Hang) -> None:
    """It is ejected and what waits there is served by the other; streams it had begun go on when it does."""
    if hang is blackholed:
        need_iptables()
    engine = await victim(busy)
    async with wide_gate(busy), busy.load.running(engine.others, PAUSE_SECONDS):
        await busy.load.go_on(SESSIONS)
        async with hang(busy.stack, engine.name), asyncio.TaskGroup() as group:
            moved = group.create_task(busy.load.turn(engine.waiting))
            await until(engine.is_out, "it is ejected", 30)
            await until(moved.done, "what waited there is served", 30)
            await engine.assert_asked_nothing()
        await engine.gets_its_sessions_back()
    _assert_moved(busy, moved.result(), engine.name)
    busy.assert_nothing_failed()


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_engines_stop_when_clients_hang_up(demo: Demo, stream: bool) -> None:
    """Several long answers at once, given up by their clients: none is made to its end, engines work on nothing."""
    async with ClientSession() as client:

        async def total(name: str) -> float:
            return sum([await metric(client, engine.url, name) for engine in demo.stack.engines])

        async def at_work(requests: int) -> bool:
            return await total(RUNNING) == requests

        made, ended = await total(GENERATED), await total(ENDED)
        heard: set[int] = set()
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(_ask_long(client, demo.stack, stream, heard.add)) for _ in range(AT_ONCE)]
            await until(lambda: len(heard) == (AT_ONCE if stream else 0), "every stream has begun", 30)
            await until(lambda: at_work(AT_ONCE), "engines work on every request", 30)
            for one in asking:
                one.cancel()
        await until(lambda: at_work(0), "engines work on nothing", 60)
        assert await total(GENERATED) - made < AT_ONCE * LONG_TOKENS / 2
        assert await total(ENDED) == ended


def _assert_moved(busy: Busy, outcome: Outcome, engine: str) -> None:
    """A request for a broken engine was answered whole by another, and so was one that had already been sent there."""
    assert (outcome.status, outcome.end) == (200, "ok"), outcome
    assert (outcome.served_by != engine, outcome.reason in AWAY) == (True, True), outcome
    assert "retry" in {one.reason for one in busy.load.outcomes}


async def _ask_long(client: ClientSession, stack: Stack, stream: bool, hear: Callable[[int], None]) -> None:
    """One long answer; `hear` gets a number of its own, again with each piece."""
    wish = {"model": stack.model, "prompt": "Count.", "max_tokens": LONG_TOKENS, "ignore_eos": True, "stream": stream}
    async with client.post(f"{stack.endpoint}/v1/completions", json=wish) as response:
        async for _ in response.content.iter_any():
            hear(id(response))
