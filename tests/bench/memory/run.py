"""A million sessions: most end well, one in twenty leaves early, and one of the engines comes and goes."""

import asyncio
import json
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.bench.errors import BenchError
from tests.bench.machine import rss_bytes
from tests.bench.memory.feed import Asked, Feed, connected, line
from tests.bench.memory.tables import Sample, report
from tests.bench.overhead.subjects import cheap, ran
from tests.bench.progress import Bar, progress
from tests.bench.report import Report
from tests.lab import processes, starting, topology
from tests.lab.errors import LabError
from tests.lab.launch import haproxy
from tests.lab.processes import Process
from tests.lab.state import State
from tests.support.lab import free_span

_ENGINES = 4
_BATCH = 100
_SAMPLES = 200
_FLAP_SECONDS = 4.0
_IDLE_SECONDS = 20.0
_MODEL = "bench"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(slots=True)
class Flapping:
    """An engine that comes and goes."""

    process: Process
    flaps: int = 0

    @property
    def name(self) -> str:
        """Its name."""
        return self.process.command.name

    @property
    def up(self) -> bool:
        """Whether it is there now."""
        return self.process.alive()

    async def run(self) -> None:
        """Come and go until cancelled."""
        while True:
            await asyncio.sleep(_FLAP_SECONDS)
            if self.up:
                await asyncio.to_thread(processes.kill, [self.process])
            else:
                self.process = processes.spawn(self.process.command, processes.ROOT)
                self.flaps += 1


@dataclass(frozen=True, slots=True)
class Fed:
    """What a feeding gave."""

    samples: Sequence[Sample]
    ends: Counter[str]
    flaps: int
    left: int


def run(sessions: int, program: str | None, compiled: Path | None = None) -> Report:
    """Feed, sample, report. `compiled`: see the lab's. Raises BenchError."""
    with tempfile.TemporaryDirectory() as folder, progress("memory", sessions) as bar:
        lab = _lab(Path(folder), program, compiled)
        state = State((), {})
        try:
            state = starting.start(Path(folder), [*lab.engines, *lab.routers], state)
            fed = asyncio.run(_feed(lab, state, sessions, bar))
        except LabError as problem:
            raise BenchError(str(problem)) from problem
        finally:
            processes.end(state.processes)
    settings = {"sessions": sessions, "engines": _ENGINES, "flaps": fed.flaps, "router": ran(compiled)}
    return report(fed.samples, fed.ends, fed.left, settings, {**asdict(fed), "ends": dict(fed.ends)})


def _lab(folder: Path, program: str | None, compiled: Path | None) -> topology.Lab:
    try:
        found, version = haproxy(program)
        wanted = topology.Wanted(
            engines=_ENGINES,
            port=free_span(),
            model=_MODEL,
            haproxy=found,
            haproxy_version=version,
            prefill_rate=20_000.0,
            decide_milliseconds=500,
            engine_options=(),
            state=folder,
            compiled=compiled,
        )
        lab = topology.design(wanted)
    except LabError as problem:
        raise BenchError(str(problem)) from problem
    (folder / "logs").mkdir()
    for path, text in lab.files.items():
        path.write_text(text)
    # The router's lines are read by nobody here, and a million of them fill a disk.
    return replace(
        lab, engines=[cheap(one) for one in lab.engines], routers=[replace(one, log="/dev/null") for one in lab.routers]
    )


async def _feed(lab: topology.Lab, state: State, sessions: int, bar: Bar) -> Fed:
    router = state.process(lab.routers[0].name)
    ports = {
        port["name"]: port["port"] for one in lab.plan["services"] if one["kind"] == "router" for port in one["ports"]
    }
    flapping = Flapping(state.process(lab.engines[-1].name))
    samples, ends = [Sample(0, rss_bytes(router.pid))], Counter[str]()
    try:
        async with AsyncExitStack() as stack:
            feed = await stack.enter_async_context(connected(ports["spop"], ports["events"]))
            group = await stack.enter_async_context(asyncio.TaskGroup())
            flap = group.create_task(flapping.run())
            for first in range(0, sessions, _BATCH):
                batch = [Asked(number, _MODEL) for number in range(first + 1, min(first + _BATCH, sessions) + 1)]
                ends += await _batch(feed, batch, flapping, lab.engines[0].name)
                bar.step("sessions", len(batch))
                if first // _BATCH % max(sessions // _BATCH // _SAMPLES, 1) == 0:
                    samples.append(Sample(first + len(batch), rss_bytes(router.pid)))
            flap.cancel()
        left = await asyncio.to_thread(_left, ports["http"])
        samples.append(Sample(sessions, rss_bytes(router.pid)))
    finally:
        processes.kill([flapping.process])
    return Fed(samples, ends, flapping.flaps, left)


async def _batch(feed: Feed, batch: Sequence[Asked], flapping: Flapping, other: str) -> Counter[str]:
    """Ask, begin, end. Of forty, one leaves before its first byte and one after it."""
    ends: Counter[str] = Counter()
    chosen = await feed.ask(batch)
    begun, lines = [], []
    for one in batch:
        engine = chosen.get(one.number, "")
        lost = engine == flapping.name and not flapping.up
        server = other if lost else engine
        if one.number % 40 == 0:
            ends["left before the first byte"] += 1
            lines.append(line(one, engine, server, -1, "CH--"))
            continue
        begun.append((one, server))
        left = one.number % 40 == 20
        ends["left during the answer" if left else "served by another engine" if lost else "served"] += 1
        lines.append(line(one, engine, server, 200, "CD--" if left else "----"))
    await feed.begun(begun)
    await feed.ended(lines)
    return ends


def _left(port: int) -> int:
    """Requests that the router still counts, once it had time to hear of every end."""
    count = -1

    def idle() -> bool:
        nonlocal count
        with _DIRECT.open(f"http://127.0.0.1:{port}/admin/engines", timeout=5) as answer:
            count = sum(int(one["in_flight"]) for one in json.load(answer)["engines"])
        return count == 0

    processes.wait(idle, _IDLE_SECONDS)
    return count
