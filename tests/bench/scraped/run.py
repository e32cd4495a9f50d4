"""Decisions among many engines in the router's own loop, while its metrics are read as often as Prometheus would.

Time is the processor time of the loop's thread, from when a decision is due until it is made: whatever part of a scrape
comes in between counts. Passes with and without scrapes take turns, and the best of each is compared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from router.fleet import Fleet, Outcome
from router.metrics import Exporter, Registry, Tally, registry, scrape
from router.parse import parse
from tests.bench.bench_decide import SETTINGS, fleet, request
from tests.bench.figures import digits, percentile, ratio
from tests.bench.report import Report, Table

SESSIONS = 200
TURN = 1900


@dataclass(frozen=True, slots=True)
class Wanted:
    """`every_seconds`: between two scrapes; `rate`: decisions per second, which turns seconds into decisions."""

    engines: int = 64
    every_seconds: float = 15.0
    rate: float = 1000.0
    passes: int = 5


@dataclass(slots=True)
class Pass:
    """The microseconds of each decision, and of those that were due while a scrape was being written."""

    all: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)
    scrape_octets: int = 0

    @property
    def mean(self) -> float:
        """Microseconds of a decision."""
        return sum(self.all) / len(self.all)


def _deciding(owner: Fleet) -> Callable[[], None]:
    asks = [parse(request(8_000, session=f"s-{at}", turn=TURN), SETTINGS) for at in range(SESSIONS)]
    numbers = count()

    def decide() -> None:
        number = next(numbers)
        ask = replace(asks[number % len(asks)], id=str(number))
        engine = owner.decide(ask, 1.0).engine
        owner.begun(ask.id, engine, 1.0)
        owner.finished(Outcome(ask.id, engine, 200, chosen=engine), 1.0)

    return decide


def _watched(owner: Fleet) -> Registry:
    names = [engine.name for engine in owner.snapshot(1.0).engines]
    tally = Tally((), ("x-session-id",))
    return registry(Exporter(tally, lambda: owner.snapshot(1.0), lambda: dict.fromkeys(names, 0.5)))


async def _pass(decide: Callable[[], None], decisions: int, metrics: Registry | None) -> Pass:
    """So many decisions; in their midst one scrape, where there are `metrics`."""
    found = Pass()
    reading: asyncio.Task[None] | None = None

    async def read(collectors: Registry) -> None:
        found.scrape_octets = len(await scrape(collectors))

    for number in range(decisions):
        if metrics is not None and number == decisions // 2:
            reading = asyncio.create_task(read(metrics))  # noqa: TID251 - held and awaited below
        due = time.thread_time()
        await asyncio.sleep(0)
        decide()
        took = (time.thread_time() - due) * 1e6
        found.all.append(took)
        if reading is not None and not reading.done():
            found.meanwhile.append(took)
    if reading is not None:
        await reading
    return found


async def _measure(wanted: Wanted) -> tuple[Pass, Pass]:
    owner = fleet(wanted.engines)
    decide, metrics = _deciding(owner), _watched(owner)
    decisions = int(wanted.every_seconds * wanted.rate)
    await _pass(decide, SESSIONS * 2, metrics)
    alone, watched = [], []
    for _ in range(wanted.passes):
        alone.append(await _pass(decide, decisions, None))
        watched.append(await _pass(decide, decisions, metrics))
    return min(alone, key=lambda each: each.mean), min(watched, key=lambda each: each.mean)


def _row(name: str, times: list[float], base: list[float]) -> list[str]:
    shares = [percentile(times, share) for share in (0.5, 0.99)]
    mean = sum(times) / max(len(times), 1)
    against = ratio(mean, sum(base) / len(base))
    return [name, str(len(times)), digits(mean), *map(digits, shares), f"{against:.3f}"]


def run(wanted: Wanted) -> Report:
    """The decision's time without and with scrapes, and for those decisions that had to wait for one."""
    alone, watched = asyncio.run(_measure(wanted))
    rows = [
        _row("nobody reads", alone.all, alone.all),
        _row(f"one scrape per {wanted.every_seconds:g} s", watched.all, alone.all),
        _row("of these, while it was being written", watched.meanwhile, alone.all),
    ]
    table = Table(
        f"A decision among {wanted.engines} engines while the router's metrics are read (µs)",
        ["", "decisions", "mean", "p50", "p99", "÷ unread"],
        rows,
        f"One scrape is {watched.scrape_octets / 1000:.0f} KB, written a family at a time with decisions between.",
    )
    settings = {"engines": wanted.engines, "every_seconds": wanted.every_seconds, "rate": wanted.rate}
    raw = {
        "alone_us": alone.mean,
        "scraped_us": watched.mean,
        "meanwhile_us": watched.meanwhile,
        "scrape_octets": watched.scrape_octets,
    }
    return Report("scraped", settings | {"passes": wanted.passes}, raw, [table])
