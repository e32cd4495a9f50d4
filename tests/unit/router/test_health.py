"""The prober: true about engines, alive whatever they do."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from router.fleet import Probe
from router.health import Prober, Rhythm, Target
from router.metrics import Tally
from tests.support.beside import beside
from tests.support.until import until

METRICS = b"""# HELP vllm:kv_cache_usage_perc KV-cache usage.
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.75
process_start_time_seconds 1.7e+09
"""


class Engine:
    """An engine whose health is what the test says."""

    def __init__(self) -> None:
        self.health = 200
        self.metrics = 200
        self.authorizations: list[str] = []
        self.frozen = asyncio.Event()
        self.frozen.set()

    async def answer(self, request: web.Request) -> web.Response:
        self.authorizations.append(request.headers.get("authorization", ""))
        await self.frozen.wait()
        if request.path == "/health":
            return web.Response(status=self.health, headers={"location": "/"})
        return web.Response(status=self.metrics, body=METRICS)


@asynccontextmanager
async def served(engine: Engine) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path}", engine.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        engine.frozen.set()
        await runner.cleanup()


class Watch:
    """A running prober and what it reported."""

    def __init__(self, *urls: str, report: Callable[[str, Probe, float], None] | None = None) -> None:
        self.seen: list[tuple[str, Probe]] = []
        self.tally = Tally((), ())
        targets = tuple(Target(f"engine-{at}", url) for at, url in enumerate(urls))
        self.prober = Prober(targets, Rhythm(0.02, 0.3), report or self.note, self.tally, time.monotonic)

    def note(self, engine: str, probe: Probe, _: float) -> None:
        self.seen.append((engine, probe))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with beside(self.prober.run()):
            await until(condition, "the prober reports", 20)


async def test_healthy_engine_is_reported_with_cache_and_start_time() -> None:
    """One look tells health, the fullest rank's KV usage and the process's start."""
    async with served(Engine()) as url:
        watch = Watch(url)
        await watch.until(lambda: len(watch.seen) >= 2)
    assert watch.seen[0] == ("engine-0", Probe(ok=True, kv_usage=0.75, epoch_hint=1.7e9))
    assert watch.tally.probes["engine-0", True] >= 2
    assert watch.prober.all_seen.is_set()


@pytest.mark.parametrize("status", [302, 404, 500, 503])
async def test_anything_but_200_is_a_failed_probe(status: int) -> None:
    """Only a 200 is healthy; a redirect is not followed."""
    engine = Engine()
    engine.health = status
    async with served(engine) as url:
        watch = Watch(url)
        await watch.until(lambda: bool(watch.seen))
    assert watch.seen[0] == ("engine-0", Probe(ok=False))


async def test_engine_without_metrics_is_healthy_all_the_same() -> None:
    """What cannot be read is unknown, not sick."""
    engine = Engine()
    engine.metrics = 404
    async with served(engine) as url:
        watch = Watch(url)
        await watch.until(lambda: bool(watch.seen))
    assert watch.seen[0] == ("engine-0", Probe(ok=True))


async def test_frozen_engine_fails_and_delays_nobody_else() -> None:
    """One engine that hangs costs its own timeout only."""
    frozen = Engine()
    frozen.frozen.clear()
    async with served(frozen) as bad, served(Engine()) as good:
        watch = Watch(bad, good)
        await watch.until(lambda: ("engine-0", Probe(ok=False, waited_seconds=0.3)) in watch.seen)
    assert sum(name == "engine-1" for name, _ in watch.seen) > 1
    assert watch.prober.all_seen.is_set()


async def test_dead_port_is_a_failed_probe() -> None:
    """Nobody listening is an answer too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    watch = Watch(f"http://127.0.0.1:{port}")
    await watch.until(lambda: bool(watch.seen))
    assert watch.seen[0] == ("engine-0", Probe(ok=False))


async def test_loop_that_dies_is_started_again_and_counted() -> None:
    """A fault while reporting does not end the probing."""
    calls: list[str] = []

    def broken(engine: str, _: Probe, __: float) -> None:
        calls.append(engine)
        raise RuntimeError("on purpose")

    async with served(Engine()) as url:
        watch = Watch(url, report=broken)
        await watch.until(lambda: len(calls) >= 3)
    assert watch.tally.prober_restarts["engine-0"] >= 2


async def test_age_grows_until_a_probe_ends() -> None:
    """The time since the last probe starts with the prober, so one that never ran shows as well."""
    now = [100.0]
    prober = Prober((Target("a", "http://127.0.0.1:1"),), Rhythm(1, 1), lambda *_: None, Tally((), ()), lambda: now[0])
    now[0] = 107.0
    assert prober.ages() == {"a": 7.0}


async def test_frozen_engine_is_looked_at_again_at_once_and_for_half_as_long() -> None:
    """One look that ran out of time is followed by a short one, so that two need less than two time-outs."""
    engine = Engine()
    engine.frozen.clear()
    async with served(engine) as url:
        watch = Watch(url)
        await watch.until(lambda: len(watch.seen) >= 3)
    assert [probe.waited_seconds for _, probe in watch.seen[:3]] == [0.3, 0.15, 0.3]


async def test_engines_come_and_go_while_the_prober_runs() -> None:
    """New settings start and end loops; an engine that is gone is looked at no more, and has no age."""
    async with served(Engine()) as first, served(Engine()) as second:
        watch = Watch(first)
        rhythm = Rhythm(0.02, 0.3)

        def seen(name: str) -> int:
            return sum(found == name for found, _ in watch.seen)

        async def change() -> None:
            await until(lambda: seen("engine-0") > 0, "the first is seen", 20)
            watch.prober.configure((Target("engine-1", second),), rhythm)
            assert set(watch.prober.ages()) == {"engine-1"}
            before = seen("engine-0")
            await until(lambda: seen("engine-1") >= 3, "the second is seen", 20)
            assert seen("engine-0") == before
            watch.prober.configure((), rhythm)
            watch.prober.configure((Target("engine-0", first),), rhythm)
            await until(lambda: seen("engine-0") > before, "the first is seen again", 20)

        changing = asyncio.ensure_future(change())
        await watch.until(changing.done)
        changing.result()


async def test_engine_that_moves_is_looked_at_where_it_is_now() -> None:
    """The same name at another address is another target."""
    async with served(Engine()) as url:
        watch = Watch("http://127.0.0.1:1")
        watch.prober.configure((Target("engine-0", url),), Rhythm(0.02, 0.3))
        await watch.until(lambda: bool(watch.seen))
    assert watch.seen[0][1].ok


async def test_engines_with_a_key_are_asked_with_it() -> None:
    """The key is the engines' own; without one nothing is sent."""
    engine = Engine()
    async with served(engine) as url:
        watch = Watch(url)
        await watch.until(lambda: len(engine.authorizations) >= 2)
        assert set(engine.authorizations) == {""}
        engine.authorizations.clear()
        watch.prober.configure((Target("engine-0", url),), Rhythm(0.02, 0.3), engine_key="secret")
        await watch.until(lambda: len(engine.authorizations) >= 2)
    assert set(engine.authorizations) == {"Bearer secret"}
