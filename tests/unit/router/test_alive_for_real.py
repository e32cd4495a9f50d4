"""Prober, fleet and an engine over real HTTP: who hangs is out, who is only busy is not."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from router.errors import NoEngine
from router.fleet import EngineSettings, EngineSnapshot, Fleet, FleetSettings, Outcome, State
from router.health import Prober, Rhythm, Target
from router.tally import Tally
from tests.engines.config import from_argv
from tests.engines.engine import Engine
from tests.engines.server import application
from tests.support.beside import beside
from tests.support.fleets import ask
from tests.support.until import until


@asynccontextmanager
async def served(name: str, *argv: str) -> AsyncIterator[str]:
    config = from_argv(["--name", name, "--port", "0", "--model", "m", *argv])
    runner = web.AppRunner(application(Engine(config)), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Watched:
    """A fleet whose prober and timer run, and a client for its engines."""

    def __init__(self, fleet: Fleet, client: ClientSession) -> None:
        self.fleet = fleet
        self.client = client

    def engine(self, name: str) -> EngineSnapshot:
        return next(found for found in self.fleet.snapshot(0.0).engines if found.name == name)

    def is_(self, name: str, state: State) -> bool:
        return self.engine(name).state is state

    async def begin(self, tokens: int) -> tuple[str, asyncio.Task[bytes]]:
        """Let the fleet decide about a request, and send it there; returns where, and its answer."""
        name = self.fleet.decide(ask("r"), time.monotonic()).engine
        url = f"{self.engine(name).url}/v1/completions"
        body = {"model": "m", "prompt": "tell me", "max_tokens": tokens, "ignore_eos": True}

        async def answer() -> bytes:
            async with self.client.post(url, json=body) as response:
                return await response.read()

        return name, asyncio.ensure_future(answer())

    async def order(self, name: str, **order: object) -> None:
        async with self.client.post(f"{self.engine(name).url}/sim", json=order) as response:
            response.raise_for_status()


@asynccontextmanager
async def watched(stall_seconds: float, *argv: str) -> AsyncIterator[Watched]:
    async with served("a", *argv) as first, served("b", *argv) as second, ClientSession() as client:
        engines = (EngineSettings("a", first, "m"), EngineSettings("b", second, "m"))
        settings = FleetSettings(engines, stall_seconds=stall_seconds, eject_seconds=0.2)
        fleet = Fleet(settings, time.monotonic())
        targets = tuple(Target(engine.name, engine.url) for engine in engines)
        prober = Prober(targets, Rhythm(0.05, 30.0), fleet.probe, Tally((), ()), time.monotonic)

        async def timer() -> None:
            while True:
                await asyncio.sleep(0.05)
                fleet.expire(time.monotonic())

        found = Watched(fleet, client)
        async with beside(prober.run(), timer()):
            await until(lambda: found.is_("a", State.READY) and found.is_("b", State.READY), "both are ready", 30)
            yield found


async def test_an_engine_that_hangs_behind_a_good_health_check_is_out_and_comes_back_when_it_works() -> None:
    """Its counters stand still under a request: ejected; once they move again, one request proves it."""
    async with watched(1.0) as found:
        name, answer = await found.begin(tokens=300)
        await found.order(name, freeze=True)
        await until(lambda: found.is_(name, State.EJECTED), "it is ejected", 30)
        assert found.engine(name).eject_reason == "stalled"
        await found.order(name, freeze=False)
        await until(lambda: found.is_(name, State.PROBING), "it may be tried", 30)
        await until(answer.done, "what was there goes on", 60)
        found.fleet.begun("r", name, time.monotonic())
        found.fleet.finished(Outcome("r", name, 200), time.monotonic())
        assert found.is_(name, State.READY)


async def test_an_engine_that_generates_for_long_is_not_out() -> None:
    """No first byte and no end for many times `stall_seconds`, but its tokens advance."""
    async with watched(2.0, "--decode-seconds", "0.02") as found:
        name, answer = await found.begin(tokens=500)
        await until(answer.done, "the answer is there", 60)
        assert (found.engine(name).state, found.engine(name).ejections) == (State.READY, 0)


async def test_an_engine_that_was_put_to_sleep_is_given_nothing_until_it_is_awake() -> None:
    """It says that it is well. When all of a model's engines sleep, who asks is told so, and when to try again."""
    async with watched(30.0) as found:
        await found.order("a", asleep=True)
        await until(lambda: not found.engine("a").available, "it is seen asleep", 30)
        assert {found.fleet.decide(ask(f"r{key}", key), time.monotonic()).engine for key in range(9)} == {"b"}
        await found.order("b", asleep=True)
        await until(lambda: not found.engine("b").available, "the other one is seen asleep", 30)
        with pytest.raises(NoEngine, match="2 asleep"):
            found.fleet.decide(ask("none"), time.monotonic())
        await found.order("a", asleep=False)
        await until(lambda: found.engine("a").available, "it is seen awake", 30)
        assert found.fleet.decide(ask("again"), time.monotonic()).engine == "a"
