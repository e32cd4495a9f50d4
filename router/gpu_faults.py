"""GPUs that are broken, as the watcher on each engine host says: engines that need one are drained.

Each watcher is asked once a second what it holds against its GPUs: a state, so that a router that was away misses
nothing. The rules:
1. An engine with a fault on one of its GPUs is drained, for the reason `gpu`, once for each fault: an operator who lets
   it work again all the same is obeyed until there is another fault.
2. The last engine of a model is not: a doubtful engine beats none. It is as soon as another can take its work.
3. When its watcher says that nothing is held against its GPUs any more, the engine works again, unless somebody else
   drained it. Which router ordered it does not matter: the edge tells the others what a drain is for.
4. A watcher that does not answer changes nothing.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import aiohttp
import msgspec
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.drains import GPU
from router.exposition import PREFIX
from router.fleet import Fleet

logger = logging.getLogger(__name__)

PATH = "/faults"
_EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 2.0
_MOST_OCTETS = 262_144
_AT_ONCE = 32


class Fault(msgspec.Struct, frozen=True):
    """One thing held against one GPU. `id` names it once and for all; `xid` 0: the GPU is gone."""

    gpu: int
    id: str
    why: str = ""
    xid: int = 0


class Report(msgspec.Struct, frozen=True):
    """A watcher's answer."""

    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Watched:
    """An engine (`at`: its own URL), the GPUs it needs, and the base URL of the watcher that knows them."""

    engine: str
    at: str
    url: str
    gpus: frozenset[int]


class GpuFaults:
    """Asks watchers, and orders drains. `faulty`: engines with a fault; `silent`: watchers that do not answer."""

    def __init__(self, fleet: Fleet, watched: Iterable[Watched] = ()) -> None:
        self._fleet = fleet
        self._watched: tuple[Watched, ...] = tuple(watched)
        self._handled: dict[str, frozenset[str]] = {}
        self._spared: set[str] = set()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._decode = msgspec.json.Decoder(Report).decode
        self.faulty: dict[str, str] = {}
        self.silent: set[str] = set()

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that are watched."""
        return tuple(each.engine for each in self._watched)

    def configure(self, watched: Iterable[Watched]) -> None:
        """Watch these from now on; what is known of others is forgotten."""
        before, self._watched = set(self._watched), tuple(watched)
        names, urls = {each.engine for each in self._watched if each in before}, {each.url for each in self._watched}
        self._handled = {name: ids for name, ids in self._handled.items() if name in names}
        self.faulty = {name: why for name, why in self.faulty.items() if name in names}
        self._spared &= names
        self.silent &= urls

    def heard(self, url: str, report: Report) -> None:
        """One watcher's answer: bring its engines in line with it."""
        for each in self._watched:
            if each.url == url:
                self._judge(each.engine, [fault for fault in report.faults if fault.gpu in each.gpus])

    def _judge(self, engine: str, faults: list[Fault]) -> None:
        if not faults:
            self._back(engine)
            return
        self.faulty[engine] = faults[0].why
        found, known = frozenset(fault.id for fault in faults), self._handled.get(engine, frozenset())
        if found <= known:
            return
        if self._fleet.drained_for(engine) != GPU and not self._fleet.may_drain(engine):
            if engine not in self._spared:
                self._spared.add(engine)
                logger.error("engine %s: %s: it is the last of its model and goes on", engine, faults[0].why)
            return
        self._spared.discard(engine)
        self._handled[engine] = known | found
        self._fleet.drain(engine, GPU)
        logger.error("engine %s: %s: it is drained", engine, faults[0].why)

    def _back(self, engine: str) -> None:
        self._spared.discard(engine)
        if self.faulty.pop(engine, None) is not None:
            logger.warning("engine %s: nothing is held against its GPUs any more", engine)
        self._handled.pop(engine, None)
        self._fleet.undrain(engine, GPU)

    async def run(self) -> None:
        """Ask until cancelled."""
        patience = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=patience) as http:
            while True:
                await asyncio.gather(*(self._ask(http, url) for url in {each.url for each in self._watched}))
                await asyncio.sleep(_EVERY_SECONDS)

    async def _ask(self, http: aiohttp.ClientSession, url: str) -> None:
        try:
            async with self._gate, http.get(f"{url}{PATH}", allow_redirects=False) as answer:
                answer.raise_for_status()
                report = self._decode(await answer.content.read(_MOST_OCTETS))
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError) as problem:
            if url not in self.silent:
                logger.warning("GPU watcher %s: no answer (%r): what it said last holds", url, problem)
            self.silent.add(url)
            return
        self.silent.discard(url)
        self.heard(url, report)


class GpuFaultMetrics(Collector):
    """The watchers' word as Prometheus families."""

    def __init__(self, faults: GpuFaults) -> None:
        self._faults = faults

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known without a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Build the families."""
        fault = GaugeMetricFamily(
            f"{PREFIX}_engine_gpu_fault", "1 while something fatal is held against a GPU of it.", labels=("engine",)
        )
        for name in self._faults.engines:
            fault.add_metric((name,), name in self._faults.faulty)
        yield fault
        text = "Hosts whose GPU watcher does not answer."
        yield GaugeMetricFamily(f"{PREFIX}_gpu_watchers_silent", text, len(self._faults.silent))
