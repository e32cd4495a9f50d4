"""Prefill rates are measured on engines that are idle, once for each life, and never at the cost of serving."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import ClientSession, web

from router.calibrate import Calibrator
from router.fleet import EngineSnapshot, State
from tests.engines.config import from_argv
from tests.engines.engine import Engine
from tests.engines.server import application
from tests.support.beside import beside
from tests.support.until import until


@dataclass
class Running:
    """A simulated engine, and the requests it got."""

    url: str
    engine: Engine
    paths: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    before: Callable[[], Awaitable[None]] | None = None

    def snapshot(self, name: str = "engine-0", /, **changes: object) -> EngineSnapshot:
        found = EngineSnapshot(
            name=name,
            url=self.url,
            model="sim",
            state=State.READY,
            draining=False,
            available=True,
            in_flight=0,
            uncached_tokens=0,
            prefill_tokens_per_second=8000.0,
            kv_usage=0.0,
            epoch=0,
            failures=0,
            probe_failures=0,
        )
        return replace(found, **changes)  # type: ignore[arg-type]  # tests name fields that exist

    @property
    def prompts(self) -> int:
        return self.paths.count("/v1/completions")


@asynccontextmanager
async def running(*argv: str, port: int = 0) -> AsyncIterator[Running]:
    config = from_argv(["--name", "engine", "--port", "0", "--model", "sim", "--decode-seconds", "0.001", *argv])
    engine = Engine(config)
    found = Running("", engine)

    @web.middleware
    async def note(request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
        found.paths.append(request.path)
        found.keys.add(request.headers.get("authorization", ""))
        if found.before is not None and request.path == "/v1/completions":
            await found.before()
        return await handler(request)  # type: ignore[misc, no-any-return]  # aiohttp's own handler type is private

    app = application(engine)
    app.middlewares.append(note)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


class Watch:
    """A calibrator, what it sees, and what it reported."""

    def __init__(self, *engines: EngineSnapshot, tokens: int = 512, engine_key: str = "") -> None:
        self.engines = list(engines)
        self.rates: list[tuple[str, float]] = []
        self.looks = 0
        self.offset = 0.0
        self.calibrator = Calibrator(
            self.look, lambda name, rate: self.rates.append((name, rate)), tokens, engine_key=engine_key, clock=self.now
        )

    def look(self) -> list[EngineSnapshot]:
        self.looks += 1
        return self.engines

    def now(self) -> float:
        return asyncio.get_running_loop().time() + self.offset

    async def until(self, condition: Callable[[], bool]) -> None:
        async with beside(self.calibrator.run()):
            await until(condition, "the calibrator gets there", 60)

    async def some_looks(self) -> None:
        """Long enough for it to have done what it must not do."""
        before = self.looks
        await self.until(lambda: self.looks >= before + 4)


async def test_a_slow_engine_is_measured_slower_than_a_fast_one_and_neither_faster_than_it_is() -> None:
    """Prompt tokens over seconds, of one prompt that no cache holds."""
    async with running("--prefill-rate", "1000") as slow, running("--prefill-rate", "8000") as fast:
        watch = Watch(slow.snapshot("slow"), fast.snapshot("fast"), tokens=1000)
        await watch.until(lambda: len(watch.rates) == 2)
    rates = dict(watch.rates)
    assert 0 < rates["slow"] < 1100
    assert rates["slow"] < rates["fast"] < 8800
    assert (slow.prompts, fast.prompts) == (2, 2)


async def test_an_engine_is_measured_once_and_again_when_another_process_is_there() -> None:
    """What was measured stays true while the process lives."""
    async with running() as engine:
        watch = Watch(engine.snapshot())
        await watch.until(lambda: len(watch.rates) == 1)
        await watch.some_looks()
        assert engine.prompts == 2
        watch.engines = [engine.snapshot(epoch=1)]
        await watch.until(lambda: len(watch.rates) == 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"in_flight": 1},
        {"foreign_in_flight": 1},
        {"state": State.STARTING},
        {"state": State.EJECTED},
        {"state": State.DRAINING, "draining": True},
    ],
)
async def test_an_engine_that_is_busy_or_not_ready_is_left_alone(changes: dict[str, object]) -> None:
    """Nobody waits for a measurement."""
    async with running() as engine:
        watch = Watch(engine.snapshot(**changes))
        await watch.some_looks()
        assert engine.paths == []
        watch.engines = [engine.snapshot()]
        await watch.until(lambda: len(watch.rates) == 1)


async def test_nothing_is_measured_when_that_is_switched_off() -> None:
    """No tokens, no prompt; new settings switch it on."""
    async with running() as engine:
        watch = Watch(engine.snapshot(), tokens=0)
        await watch.some_looks()
        assert engine.paths == []
        watch.calibrator.configure(256)
        await watch.until(lambda: len(watch.rates) == 1)


async def test_the_prompt_is_at_most_half_of_what_the_model_takes() -> None:
    """A small model refuses a long one."""
    async with running("--max-model-len", "256") as engine:
        watch = Watch(engine.snapshot(), tokens=100_000)
        await watch.until(lambda: len(watch.rates) == 1)
        assert engine.engine.counters.refused == 0


async def test_engines_with_a_key_are_asked_with_it() -> None:
    """Otherwise they would say 401."""
    async with running() as engine:
        watch = Watch(engine.snapshot(), engine_key="secret")
        await watch.until(lambda: len(watch.rates) == 1)
    assert engine.keys == {"Bearer secret"}


async def test_an_engine_that_cannot_be_measured_is_tried_three_times(caplog: pytest.LogCaptureFixture) -> None:
    """It serves all the same; its log line names it and never the key."""
    async with running() as engine:
        async with ClientSession() as client:
            await client.post(f"{engine.url}/sim", json={"refuse": "500"})
        watch = Watch(engine.snapshot(), engine_key="secret")
        for tries in (1, 2, 3):

            def tried(tries: int = tries) -> bool:
                return engine.prompts == tries

            await watch.until(tried)
            watch.offset += 1000.0
        await watch.some_looks()
    assert (engine.prompts, watch.rates) == (3, [])
    assert "engine-0: prefill rate not measured" in caplog.text
    assert "secret" not in caplog.text


async def test_a_request_of_somebody_else_in_between_spoils_the_measurement() -> None:
    """The engine computed two prompts: the time was not ours alone."""
    async with running() as engine:

        async def disturb() -> None:
            if engine.prompts == 2:
                async with ClientSession() as client:
                    body = {"model": "sim", "prompt": "a", "max_tokens": 1}
                    await client.post(f"{engine.url}/v1/completions", json=body)

        engine.before = disturb
        watch = Watch(engine.snapshot())
        await watch.until(lambda: engine.paths.count("/metrics") == 2)
        await watch.some_looks()
        assert watch.rates == []
        watch.offset += 1000.0
        await watch.until(lambda: len(watch.rates) == 1)


async def test_engines_that_are_gone_are_forgotten_and_dead_ones_harm_nobody() -> None:
    """One that does not answer does not keep the next from being measured."""
    async with running() as engine:
        dead = engine.snapshot("dead", url="http://127.0.0.1:1")
        watch = Watch(dead, engine.snapshot())
        await watch.until(lambda: len(watch.rates) == 1)
        watch.engines = []
        await watch.some_looks()
    assert [name for name, _ in watch.rates] == ["engine-0"]
