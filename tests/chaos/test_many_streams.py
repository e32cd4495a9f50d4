"""A thousand streams at once, three routers: none of them loses its health, and none of them works for a chunk."""

import asyncio
import csv
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientTimeout

from router.edge import EdgeSocket
from tests.support.deciders import Deciders, deciding
from tests.support.lab import run
from tests.support.until import until

pytestmark = [pytest.mark.lab, pytest.mark.asyncio(loop_scope="module")]

ROUTERS, ENGINES = 3, 2
STREAMS, WAVE, LATER = 1000, 250, 60
SLOWED, ENDLESS = 40, 1500  # times a step, chunks: no stream ends by itself
LOOKS = 120
PATIENT = ClientTimeout()
EQUAL = 100  # requests of each half of a comparison
SHORT, LONG = 10, 200  # chunks of each answer
# Every stream has a place in batch and cache, and a step takes as long with one of them as with all.
OPTIONS = ("--max-num-seqs", "1000", "--cache-tokens", "2000000", "--decode-growth", "0", "--decode-seconds", "0.01")


@dataclass(slots=True)
class Streams:
    """What the clients of many streams saw: why each went where it went, and chunks by stream."""

    lab: Deciders
    reasons: Counter[str] = field(default_factory=Counter)
    chunks: Counter[str] = field(default_factory=Counter)

    async def read(self, name: str, tokens: int) -> bool:
        """Read one answer of a session of its own as it comes; whether it had its end."""
        said = [{"role": "user", "content": name}]
        body = {"model": self.lab.lab.model, "messages": said, "stream": True, "max_tokens": tokens, "ignore_eos": True}
        url, named, end = f"{self.lab.lab.endpoint}/v1/chat/completions", {"x-session-id": name}, b""
        async with self.lab.load.client.post(url, json=body, headers=named, timeout=PATIENT) as response:
            self.reasons[response.headers.get("x-route-reason", f"status {response.status}")] += 1
            async for octets in response.content.iter_any():
                self.chunks[name] += octets.count(b"data: {")
                end = octets
        return end.endswith(b"data: [DONE]\n\n")

    async def whole(self, prefix: str, count: int, tokens: int) -> bool:
        """Read so many at once; whether all had their end."""
        return all(await asyncio.gather(*(self.read(f"{prefix}-{number}", tokens) for number in range(count))))

    @asynccontextmanager
    async def held(self, prefix: str, count: int) -> AsyncIterator[None]:
        """So many without an end, begun before the block and open while it runs."""
        async with asyncio.TaskGroup() as group:
            tasks = list[asyncio.Task[bool]]()
            try:
                # Many at a time, not all: the simulated engines compute in one thread, and a stall ejects them.
                for first in range(0, count, WAVE):
                    names = [f"{prefix}-{number}" for number in range(first, first + WAVE)]
                    tasks += [group.create_task(self.read(name, ENDLESS)) for name in names]
                    await until(partial(set(names).issubset, self.chunks), "they have begun", 30)
                yield
            finally:
                for task in tasks:
                    task.cancel()


@dataclass(slots=True)
class Looks:
    """The routers' health as somebody sees it who asks all the time."""

    lab: Deciders
    statuses: Counter[int] = field(default_factory=Counter)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Look while the block runs."""
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look())
            try:
                yield
            finally:
                looking.cancel()

    async def _look(self) -> None:
        while True:
            for url in self.lab.urls.values():
                for path in ("healthz", "readyz"):
                    async with self.lab.lab.client.get(f"{url}/{path}") as response:
                        self.statuses[response.status] += 1
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deciders]:
    """Three routers, two engines; a test leaves nothing at them."""
    async with deciding(tmp_path_factory.mktemp("many") / "lab", ROUTERS, ENGINES, *OPTIONS) as found:
        yield found


async def _slowed(lab: Deciders, factor: float) -> None:
    for engine in lab.lab.engines:
        await lab.lab.sim(engine, slow=factor)


async def _open(lab: Deciders) -> int:
    """Requests that the engines have now."""
    found = [await lab.lab.sim(engine) for engine in lab.lab.engines]
    return sum(int(one["running"]) + int(one["waiting"]) for one in found)


async def _taken_in(lab: Deciders) -> bool:
    """Whether the edge's every health check of a router, two of each, finds it well."""
    said = await EdgeSocket(str(lab.lab.state / "haproxy.sock")).command("show stat -1 4 -1")
    rows = [row for row in csv.DictReader(said.lstrip("# ").splitlines()) if row["svname"] in lab.urls]
    # Where one only stands in, or is never asked, nobody checks it.
    checked = [row["status"] for row in rows if row["check_status"]]
    return checked == ["UP"] * 2 * ROUTERS


async def test_a_thousand_open_streams_cost_no_router_its_health_or_a_decision(lab: Deciders) -> None:
    """As they come and as they flow: each router is well, no process ends, all are decided, and so is who comes then.

    How often the edge took one out is not asked: where a machine does much else the edge is woken late, and takes its
    own lateness for a connection that nobody accepts.
    """
    streams, looks = Streams(lab), Looks(lab)
    await until(partial(_taken_in, lab), "the edge finds every router well", 30)
    await _slowed(lab, SLOWED)
    async with looks.going_on(), streams.held("held", STREAMS):
        assert await _open(lab) == STREAMS
        wanted = looks.statuses.total() + LOOKS
        assert await streams.whole("later", LATER, 2)
        await until(lambda: looks.statuses.total() >= wanted, "the routers are looked at while all flows", 30)
        await until(partial(_taken_in, lab), "the edge finds every router well while all flows", 30)
        assert await _open(lab) == STREAMS
    assert {*looks.statuses} == {200}
    assert streams.reasons["new"] >= 0.95 * (STREAMS + LATER)
    assert min((await lab.decisions("new")).values()) > STREAMS / ROUTERS / 2
    assert all(run("status", "--state", str(lab.lab.state))["running"].values())
    await until(lab.idle, "no load is left at any router", 30)


def _cpu_seconds(lab: Deciders) -> float:
    """What the routers have computed so far, all threads."""
    pids = [one["pid"] for one in lab.lab.report["routers"]]
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


async def _told(lab: Deciders) -> int:
    """Lines of the edge that the routers have read: each one reads only its own."""
    return int(sum([await lab.metric(url, "ironrack_router_events_total") for url in lab.urls.values()]))


@dataclass(frozen=True, slots=True)
class Work:
    """What the routers did for some answers, and how long these took."""

    cpu_seconds: float
    lines: int
    chunks: int
    seconds: float


async def _work(streams: Streams, length: int, at_least: float = 0.0) -> Work:
    """Read answers of so many chunks, and see what that costs the routers in that many seconds or more."""
    lab, clock = streams.lab, asyncio.get_running_loop().time
    await _slowed(lab, LONG / length)
    cpu, lines, chunks, began = _cpu_seconds(lab), await _told(lab), streams.chunks.total(), clock()
    assert await streams.whole(f"of {length}", EQUAL, length)
    await until(lab.idle, "the routers know that all is over", 30)
    await until(lambda: clock() - began >= at_least, "as much time as the other took", at_least)
    seconds = clock() - began
    return Work(_cpu_seconds(lab) - cpu, await _told(lab) - lines, streams.chunks.total() - chunks, seconds)


async def test_routers_do_nothing_for_a_chunk(lab: Deciders) -> None:
    """Twenty times the chunks in as many answers and as much time: the routers read as much and compute as much."""
    streams = Streams(lab)
    assert await streams.whole("warm", EQUAL, SHORT)
    long = await _work(streams, LONG)
    # What they do by themselves, such as looking at engines, grows with time alone.
    short = await _work(streams, SHORT, long.seconds)
    assert long.chunks > short.chunks * LONG / SHORT * 0.8
    assert long.lines == short.lines == EQUAL
    assert long.cpu_seconds < 2 * short.cpu_seconds
