"""router.yml while it is in use: good changes are taken over whole, bad ones not at all, and none costs anything."""

import asyncio
import gc
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from router.app import Addresses, Router
from router.parse import Ask
from router.reload import ReloadCollector, Reloader, Source, fixed, read
from tests.support.until import until


def raw(engines: int = 2, port: int = 9, **changes: Any) -> dict[str, Any]:
    """A small fleet, every engine on an address of its own."""
    return {
        "listen": {"spop": "127.0.0.1:0", "http": "127.0.0.1:0", "events": "127.0.0.1:0"},
        "models": [{"name": "tiny", "backend": "model-tiny"}],
        "engines": [
            {"name": f"e{n}", "url": f"http://127.0.0.{n + 1}:{port}", "model": "tiny"} for n in range(engines)
        ],
        "health": {"interval_seconds": 0.2, "timeout_seconds": 2},
        **changes,
    }


def write(path: Path, content: dict[str, Any] | str) -> None:
    """Replace the file in one step, as a deploy does."""
    fresh = path.with_suffix(".new")
    fresh.write_text(content if isinstance(content, str) else yaml.safe_dump(content), "utf-8")
    fresh.replace(path)


class Watched:
    """A file, a reloader that follows it, and what was applied."""

    def __init__(self, path: Path) -> None:
        self.path = path
        write(path, raw())
        self.applied: list[Source] = []
        self.reloader = Reloader(read(path), self.applied.append)

    def metrics(self) -> str:
        collectors = CollectorRegistry(auto_describe=False)
        collectors.register(ReloadCollector(self.reloader))
        return generate_latest(collectors).decode()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "router.yml")


async def test_file_that_stays_as_it_is_is_applied_never(watched: Watched) -> None:
    """Looking changes nothing, and neither does touching the file."""
    await watched.reloader.look()
    os.utime(watched.path)
    await watched.reloader.look()
    assert not watched.applied
    assert watched.reloader.generation.number == 1


async def test_good_change_is_in_force_after_one_look(watched: Watched) -> None:
    """What is applied is the file as it lies there, and the digest says which."""
    write(watched.path, raw(engines=3))
    await watched.reloader.look()
    [source] = watched.applied
    assert len(source.settings.engines) == 3
    assert watched.reloader.generation.digest == read(watched.path).digest
    assert watched.reloader.generation.number == 2
    assert "config_reload_success 1.0" in watched.metrics()


async def test_bad_change_keeps_the_last_good_one_and_is_told_once(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """Every problem of it is logged, once however often one looks, and the metric is 0 until the file is good."""
    good = watched.reloader.generation.digest
    write(watched.path, raw(healt={}, engine=[]))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await watched.reloader.look()
            os.utime(watched.path)
    assert len(caplog.records) == 2
    assert not watched.applied
    kept = watched.reloader.generation
    assert kept.digest == good
    assert len(kept.problems) == 2
    assert "config_reload_success 0.0" in watched.metrics()
    assert 'config_reloads_total{result="failed"} 1.0' in watched.metrics()
    write(watched.path, raw())
    await watched.reloader.look()
    assert not watched.reloader.generation.problems
    assert "config_reload_success 1.0" in watched.metrics()


@pytest.mark.parametrize("content", ["", "models: [", "7", "\x00"])
async def test_broken_file_applies_nothing(watched: Watched, content: str) -> None:
    """Half a file, no YAML, or nothing at all is one more bad file."""
    write(watched.path, content)
    await watched.reloader.look()
    assert not watched.applied
    assert watched.reloader.generation.problems


async def test_missing_file_applies_nothing(watched: Watched) -> None:
    """A folder that is being replaced is empty for a moment."""
    watched.path.unlink()
    await watched.reloader.look()
    assert [problem for problem in watched.reloader.generation.problems if "No such file" in problem]
    write(watched.path, raw())
    await watched.reloader.look()
    assert not watched.reloader.generation.problems


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"listen": {"http": "127.0.0.1:7"}},
            "listen.http: found '127.0.0.1:7' where '127.0.0.1:0' is in use: needs a",
        ),
        ({"decider": {"index": 1, "of": 2}}, "decider.index: found 1 where 0 is in use: needs a restart"),
        ({"edge": {"runtime_socket": "/s"}}, "edge.runtime_socket: found '/s' where '' is in use: needs a restart"),
        ({"log": {"decisions": False}}, "log.decisions: found False where True is in use: needs a restart"),
    ],
)
async def test_change_that_needs_a_restart_is_a_problem(watched: Watched, changes: Any, expected: str) -> None:
    """Nothing of such a file is applied, not even what could be."""
    content = raw(engines=3, **changes)
    content["listen"] = raw()["listen"] | content["listen"]
    write(watched.path, content)
    await watched.reloader.look()
    assert not watched.applied
    assert [problem for problem in watched.reloader.generation.problems if expected in problem]


async def test_another_count_of_deciders_needs_no_restart(watched: Watched) -> None:
    """One decider more must not stop the others."""
    old = watched.reloader
    write(watched.path, raw(decider={"of": 4}))
    await old.look()
    assert watched.applied
    assert not list(fixed(watched.applied[0].settings, watched.applied[0].settings))


async def test_new_key_is_taken_over_and_never_shown(watched: Watched, tmp_path: Path) -> None:
    """The engines' key is watched like the settings; a file without one is a problem."""
    key = tmp_path / "engine.key"
    write(watched.path, raw(engine_key_file=str(key)))
    await watched.reloader.look()
    assert [problem for problem in watched.reloader.generation.problems if "engine.key: found No such" in problem]
    key.write_text("first\n")
    await watched.reloader.look(asked=True)
    key.write_text("the second\n")
    await watched.reloader.look()
    assert [source.engine_key for source in watched.applied] == ["first", "the second"]
    assert "the second" not in repr(watched.applied[1])


async def test_failure_while_applying_is_told_and_survived(tmp_path: Path) -> None:
    """A fault of ours is a problem like any other: what was in force is again, and the next good file is taken over."""
    path = tmp_path / "router.yml"
    write(path, raw())
    applied: list[int] = []

    def apply(source: Source) -> None:
        applied.append(len(source.settings.engines))
        if applied == [3]:
            raise RuntimeError("no")

    reloader = Reloader(read(path), apply)
    write(path, raw(engines=3))
    await reloader.look()
    assert [problem for problem in reloader.generation.problems if "RuntimeError" in problem]
    write(path, raw(engines=4))
    await reloader.look()
    assert not reloader.generation.problems
    assert applied == [3, 2, 4]


async def test_asking_reads_again_without_waiting_for_the_clock(watched: Watched) -> None:
    """SIGHUP is answered at once, and again in the log when the file is still bad."""
    write(watched.path, raw(engines=5))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watched.reloader.run())
        watched.reloader.ask()
        await until(lambda: bool(watched.applied), "the file is applied", 20)
        running.cancel()


# ------------------------------------------------------------------------------------------------ the whole router


@asynccontextmanager
async def following(path: Path) -> AsyncIterator[tuple[Router, Addresses]]:
    """A router that serves by a file."""
    source, stop = read(path), asyncio.Event()
    router = Router(source.settings, source)
    started: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        tasks.create_task(router.serve(stop, started.set_result))
        try:
            yield router, await started
        finally:
            stop.set()


def ask(number: int) -> Ask:
    return Ask(f"r{number}", "tiny", number, str(number), "x-session-id", "-", 100, stream=False)


async def config(addresses: Addresses) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"http://{addresses.http}/admin/config") as answer:
        found: dict[str, Any] = json.loads(await answer.text())
        return found


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    """Where every engine answers that it is well."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/{path}", healthy)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


def available(router: Router) -> list[str]:
    return [engine.name for engine in router.fleet.snapshot(1.0).engines if engine.available]


async def test_reload_keeps_homes_leases_and_drains(tmp_path: Path, port: int) -> None:
    """An engine comes and one goes; sessions of those that stay are still at home, what they hold stays counted."""
    path = tmp_path / "router.yml"
    write(path, raw(2, port))
    async with following(path) as (router, addresses):
        fleet = router.fleet
        homes = {number: fleet.decide(ask(number), 1.0).engine for number in range(20)}
        assert set(homes.values()) == {"e0", "e1"}
        fleet.drain("e1")
        write(path, raw(3, port))
        router.reload()
        await until(lambda: available(router) == ["e0", "e2"], "the new one takes work, the drained one stays so", 20)
        assert fleet.snapshot(1.0).leases == 20
        fleet.undrain("e1")
        assert {number: fleet.decide(ask(number), 2.0).engine for number in homes} == homes
        write(path, raw(2, port))
        router.reload()
        await until(lambda: available(router) == ["e0", "e1"], "the engine is gone", 20)
        assert {number: fleet.decide(ask(number), 3.0).engine for number in homes} == homes
        found = await config(addresses)
        assert (found["digest"], found["problems"], found["number"]) == (read(path).digest, [], 3)


async def test_thousand_reloads_leak_nothing(tmp_path: Path, port: int) -> None:
    """Engines that come and go a thousand times leave no task, no series and no object behind."""
    path = tmp_path / "router.yml"
    write(path, raw(2, port))
    async with following(path) as (router, _):
        reloader = router._reloader
        assert reloader is not None

        async def turn(number: int) -> None:
            content = raw(2, port)
            content["engines"][1]["name"] = f"other-{number}"
            write(path, content)
            await reloader.look(asked=True)
            router.tally.ended(f"other-{number}", 200, 0)
            router.fleet.decide(ask(number), 1.0)
            router.fleet.expire(1e9)

        for number in range(50):
            await turn(number)
        before = _objects()
        for number in range(50, 1050):
            await turn(number)
        await until(lambda: len(asyncio.all_tasks()) < 20, "the loops of the others have ended", 20)
        assert reloader.taken >= 1050
        assert _objects() - before < 1000
        assert b"other-1000" not in generate_latest(router._parts.metrics)


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())
