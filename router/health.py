"""The only prober: one loop for each engine, at most a few probes at a time, none of them in a decision's way.

`/health` says whether the engine answers; `/metrics` how full its KV cache is and since when its process runs. A loop
that dies is started again and counted; the time since each engine's last probe is a metric, so a silent prober shows.
"""

import asyncio
import logging
import random
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from router.fleet import Probe
from router.metrics import Tally

logger = logging.getLogger(__name__)

_AT_ONCE = 16
_METRICS_OCTETS = 8_388_608
_JITTER = 0.2  # of the interval, both ways
_KV_USAGE = re.compile(rb"^vllm:(?:gpu_cache|kv_cache)_usage_perc(?:\{[^}\n]*\})? ([0-9.eE+-]+)\s*$", re.MULTILINE)
_STARTED = re.compile(rb"^process_start_time_seconds(?:\{[^}\n]*\})? ([0-9.eE+-]+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Target:
    """One engine to look at."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often one engine is looked at and how long a look may take, in seconds."""

    interval: float
    timeout: float


def read_metrics(text: bytes) -> tuple[float | None, float | None]:
    """Return KV usage (the fullest of an engine's ranks) and process start time from an engine's `/metrics`."""
    usages = [_number(found) for found in _KV_USAGE.findall(text)]
    started = _STARTED.search(text)
    return max((usage for usage in usages if usage is not None), default=None), started and _number(started[1])


def _number(octets: bytes) -> float | None:
    with suppress(ValueError):
        return float(octets)
    return None


class Prober:
    """Looks at every engine for ever. `report` gets each result with the monotonic time it was known."""

    def __init__(
        self,
        targets: tuple[Target, ...],
        rhythm: Rhythm,
        report: Callable[[str, Probe, float], None],
        tally: Tally,
        clock: Callable[[], float],
    ) -> None:
        self._targets = targets
        self._rhythm = rhythm
        self._report = report
        self._tally = tally
        self._clock = clock
        self._started = clock()
        self._seen: dict[str, float] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._loops: dict[Target, asyncio.Task[None]] = {}
        self._begin: Callable[[Target], asyncio.Task[None]] | None = None
        self.all_seen = asyncio.Event()

    def configure(self, targets: tuple[Target, ...], rhythm: Rhythm) -> None:
        """Look at other engines from now on, or in another rhythm; loops of engines that stay go on."""
        self._targets, self._rhythm = targets, rhythm
        for target in [target for target in self._loops if target not in targets]:
            self._loops.pop(target).cancel()
            self._seen.pop(target.name, None)
        self._start_missing()

    def ages(self) -> Mapping[str, float]:
        """Return seconds since each engine's last probe ended; since the start where none has."""
        now = self._clock()
        return {target.name: now - self._seen.get(target.name, self._started) for target in self._targets}

    async def run(self) -> None:
        """Look until cancelled."""
        # A connection of its own for each look: a pooled one may be dead, and its reset would look like the engine's.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
            self._begin = lambda target: group.create_task(self._keep_looking(http, target), name=f"probe {target.name}")
            self._start_missing()
            await asyncio.Event().wait()

    def _start_missing(self) -> None:
        for target in self._targets:
            if self._begin is not None and target not in self._loops:
                self._loops[target] = self._begin(target)

    async def _keep_looking(self, http: aiohttp.ClientSession, target: Target) -> None:
        while True:
            try:
                await self._look(http, target)
            except Exception:
                self._tally.prober_restarts[target.name] += 1
                logger.exception("prober of %s died: starting it again", target.name)
            await asyncio.sleep(self._rhythm.interval * random.uniform(1 - _JITTER, 1 + _JITTER))

    async def _look(self, http: aiohttp.ClientSession, target: Target) -> None:
        async with self._gate:
            probe = await self._probe(http, target)
        now = self._clock()
        self._tally.probes[target.name, probe.ok] += 1
        self._seen[target.name] = now
        if len(self._seen) >= len(self._targets):
            self.all_seen.set()
        self._report(target.name, probe, now)

    async def _probe(self, http: aiohttp.ClientSession, target: Target) -> Probe:
        try:
            async with http.get(f"{target.url}/health", timeout=self._patience(), allow_redirects=False) as answer:
                if answer.status != 200:
                    return Probe(ok=False)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return Probe(ok=False)
        usage, started = await self._metrics(http, target)
        return Probe(ok=True, kv_usage=usage, epoch_hint=started)

    def _patience(self) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=self._rhythm.timeout)

    async def _metrics(self, http: aiohttp.ClientSession, target: Target) -> tuple[float | None, float | None]:
        """Return what `/metrics` tells; an engine that answers `/health` only is alive all the same."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with http.get(f"{target.url}/metrics", timeout=self._patience(), allow_redirects=False) as answer:
                if answer.status == 200:
                    return read_metrics(await answer.content.read(_METRICS_OCTETS))
        return None, None
