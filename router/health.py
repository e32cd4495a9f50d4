"""The only prober: one loop for each engine, at most a few looks at a time, none of them in a decision's way.

`/health` says whether the engine answers; `/metrics` how full its KV cache is, since when its process runs and whether
it computes. A look that failed is followed by a short one at once, so that an engine which stopped answering is known
within a few seconds and one hiccup is no verdict. A loop that dies is started again and counted; the time since each
engine's last look is a metric, so a silent prober shows.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from router.fleet import Probe
from router.scrape import Scrape, read_metrics
from router.tally import Tally

logger = logging.getLogger(__name__)

_AT_ONCE = 32
_METRICS_OCTETS = 8_388_608
_JITTER = 0.2  # of the interval, both ways
_SECOND_LOOK = 0.25  # of the interval until it, after a first failure
_SECOND_TIMEOUT = 0.5  # of the time-out


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


class Prober:
    """Looks at every engine for ever. `report` gets each result with the monotonic time it was known.

    `engine_key`: the engines' API key, empty when they have none.
    """

    def __init__(
        self,
        targets: tuple[Target, ...],
        rhythm: Rhythm,
        report: Callable[[str, Probe, float], None],
        tally: Tally,
        clock: Callable[[], float],
        *,
        engine_key: str = "",
    ) -> None:
        self._targets = targets
        self._rhythm = rhythm
        self._report = report
        self._tally = tally
        self._clock = clock
        self._key = engine_key
        self._since = {target.name: clock() for target in targets}
        self._seen: set[str] = set()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._start: Callable[[Target], asyncio.Task[None]] | None = None
        self._loops: dict[Target, asyncio.Task[None]] = {}
        self.all_seen = asyncio.Event()

    def configure(self, targets: tuple[Target, ...], rhythm: Rhythm, engine_key: str | None = None) -> None:
        """Look at these engines from now on; loops of engines that stay go on, with the new rhythm."""
        self._rhythm = rhythm
        self._key = self._key if engine_key is None else engine_key
        wanted = {target.name: target for target in targets}
        for old in self._targets:
            if wanted.get(old.name) != old:
                self._forget(old)
        now = self._clock()
        self._targets = targets
        self._since = {target.name: self._since.get(target.name, now) for target in targets}
        self._start_loops()
        self._check_all_seen()

    def ages(self) -> Mapping[str, float]:
        """Return seconds since each engine's last look ended; since it was named where none has."""
        now = self._clock()
        return {name: now - since for name, since in self._since.items()}

    async def run(self) -> None:
        """Look until cancelled."""
        # A connection of its own for each look: a pooled one may be dead, and its reset would look like the engine's.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
            self._start = lambda target: group.create_task(
                self._keep_looking(http, target), name=f"probe {target.name}"
            )
            try:
                self._start_loops()
                await asyncio.Event().wait()  # configure may end every loop there is: the group outlives them
            finally:
                self._start = None
                self._loops.clear()

    def _start_loops(self) -> None:
        if self._start is not None:
            for target in self._targets:
                if target not in self._loops:
                    self._loops[target] = self._start(target)

    def _forget(self, target: Target) -> None:
        """End the loop of an engine that is gone, and what is known of its looks."""
        loop = self._loops.pop(target, None)
        if loop is not None:
            loop.cancel()
        self._seen.discard(target.name)
        self._since.pop(target.name, None)

    def _check_all_seen(self) -> None:
        if all(target.name in self._seen for target in self._targets):
            self.all_seen.set()

    async def _keep_looking(self, http: aiohttp.ClientSession, target: Target) -> None:
        fails = 0
        while True:
            rhythm, again = self._rhythm, fails == 1
            try:
                ok = await self._look(http, target, rhythm.timeout * (_SECOND_TIMEOUT if again else 1.0))
                fails = 0 if ok else fails + 1
            except Exception:  # an engine that nobody probes would stay as it is for good
                self._tally.prober_restarts[target.name] += 1
                logger.exception("prober of %s died: starting it again", target.name)
            pause = rhythm.interval * (_SECOND_LOOK if fails == 1 else 1.0)
            await asyncio.sleep(pause * random.uniform(1 - _JITTER, 1 + _JITTER))

    async def _look(self, http: aiohttp.ClientSession, target: Target, patience: float) -> bool:
        async with self._gate:
            probe = await self._probe(http, target, patience)
        now = self._clock()
        self._tally.probes[target.name, probe.ok] += 1
        self._seen.add(target.name)
        self._since[target.name] = now
        self._check_all_seen()
        self._report(target.name, probe, now)
        return probe.ok

    async def _probe(self, http: aiohttp.ClientSession, target: Target, patience: float) -> Probe:
        started = self._clock()
        try:
            async with asyncio.timeout(patience), self._get(http, target, "/health") as answer:
                if answer.status != 200:
                    return Probe(ok=False)
        except TimeoutError:
            return Probe(ok=False, waited_seconds=patience)
        except (aiohttp.ClientError, OSError):
            return Probe(ok=False)
        seen = await self._metrics(http, target, patience - (self._clock() - started))
        return Probe(
            ok=True,
            kv_usage=seen.kv_usage,
            epoch_hint=seen.started,
            progress=seen.progress,
            prompt_tokens=seen.prompt_tokens,
            first_tokens=seen.first_tokens,
            busy=seen.busy,
            cache_tokens=seen.cache_tokens,
            asleep=seen.asleep,
        )

    async def _metrics(self, http: aiohttp.ClientSession, target: Target, patience: float) -> Scrape:
        """Return what `/metrics` tells; an engine that answers `/health` only is alive all the same."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError):  # as the first line says: no metrics, no failure
            async with asyncio.timeout(max(patience, 0.0)), self._get(http, target, "/metrics") as answer:
                if answer.status == 200:
                    return read_metrics(await answer.content.read(_METRICS_OCTETS))
        return Scrape()

    def _get(self, http: aiohttp.ClientSession, target: Target, path: str) -> "aiohttp.client._RequestContextManager":
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        return http.get(target.url + path, allow_redirects=False, headers=headers)
