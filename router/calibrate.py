"""Measures how fast an engine computes prompts: one prompt of known length, when the engine comes up and is idle.

An engine is measured when it is ready for the first time, and again when another process serves at its place. One
engine at a time, only while the router has nothing there; if anybody else's request came in between, which the
engine's own counters tell, the figure is thrown away. Nothing here is needed for serving: what fails is logged, tried
again a few times, and left alone then.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp

from router.fleet import EngineSnapshot, State
from router.scrape import read_metrics

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_DEADLINE_SECONDS = 30.0
_MOST_TRIES = 3
_AGAIN_SECONDS = 15.0  # times the number of tries so far; longer than the deadline of another decider's
_WARM_UP_WORDS = 64
_ANSWER_OCTETS = 8_388_608
_WORDS = (
    "river",
    "stone",
    "apple",
    "train",
    "cloud",
    "paper",
    "green",
    "light",
    "house",
    "music",
    "table",
    "water",
    "north",
    "chair",
    "bread",
    "horse",
    "plant",
    "glass",
    "metal",
    "night",
    "ocean",
    "piano",
    "queen",
    "robot",
)  # short ones: about a token each


@dataclass(slots=True)
class _Tries:
    """What was tried on one life of an engine."""

    life: tuple[str, int]
    count: int = 0
    again_at: float = 0.0
    done: bool = False


class _NotUsable(Exception):
    """The engine answered, but not so that a rate could be taken from it."""


class Calibrator:
    """Runs beside the router. `report` gets an engine's name and its tokens per second.

    `tokens`: length of the measured prompt, 0 to measure nothing; never more than half of what the model takes.
    """

    def __init__(
        self,
        engines: Callable[[], Iterable[EngineSnapshot]],
        report: Callable[[str, float], None],
        tokens: int,
        *,
        engine_key: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engines = engines
        self._report = report
        self._clock = clock
        self._tries: dict[str, _Tries] = {}
        self.configure(tokens, engine_key)

    def configure(self, tokens: int, engine_key: str = "") -> None:
        """Take over new settings; engines that were measured stay so."""
        self._tokens = tokens
        self._key = engine_key

    async def run(self) -> None:
        """Measure what is due, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=_DEADLINE_SECONDS)
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
            while True:
                await self._round(http)
                await asyncio.sleep(_LOOK_SECONDS * random.uniform(0.5, 1.5))

    async def _round(self, http: aiohttp.ClientSession) -> None:
        engines = tuple(self._engines())
        self._tries = {one.name: self._tries[one.name] for one in engines if one.name in self._tries}
        if not self._tokens:
            return
        for name in [one.name for one in engines]:
            now_there = next((one for one in self._engines() if one.name == name), None)
            if now_there is not None and self._due(now_there):
                await self._try(http, now_there)

    def _due(self, engine: EngineSnapshot) -> bool:
        life = (engine.url, engine.epoch)
        tries = self._tries.get(engine.name)
        if tries is None or tries.life != life:
            tries = self._tries[engine.name] = _Tries(life)
        idle = not (engine.in_flight or engine.foreign_in_flight)
        open_ = not tries.done and tries.count < _MOST_TRIES and self._clock() >= tries.again_at
        return open_ and idle and engine.state is State.READY

    async def _try(self, http: aiohttp.ClientSession, engine: EngineSnapshot) -> None:
        tries = self._tries[engine.name]
        tries.count += 1
        tries.again_at = self._clock() + _AGAIN_SECONDS * tries.count * random.uniform(1.0, 2.0)
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                rate = await _Measure(http, engine, self._key, self._clock).rate(self._tokens)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, _NotUsable) as error:
            found = str(error) or type(error).__name__
            logger.warning("%s: prefill rate not measured (try %d): %s", engine.name, tries.count, found)
            return
        tries.done = True
        logger.info("%s: computes %d prompt tokens a second", engine.name, rate)
        self._report(engine.name, rate)


class _Measure:
    """One measurement of one engine."""

    def __init__(
        self, http: aiohttp.ClientSession, engine: EngineSnapshot, key: str, clock: Callable[[], float]
    ) -> None:
        self._http = http
        self._url = engine.url
        self._model = engine.model
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._clock = clock

    async def rate(self, tokens: int) -> float:
        """Return tokens per second. Raises _NotUsable, ValueError, and what aiohttp raises."""
        self._model, longest = await self._served()
        tokens = min(tokens, longest // 2)
        seen, _ = await self._complete(min(_WARM_UP_WORDS, max(tokens // 4, 1)))
        words_per_token = min(_WARM_UP_WORDS, max(tokens // 4, 1)) / seen
        before = await self._answered()
        used, seconds = await self._complete(max(int(tokens * words_per_token), 1))
        after = await self._answered()
        if before is not None and after is not None and after - before != 1:
            raise _NotUsable("other requests came in between")
        return used / seconds

    async def _served(self) -> tuple[str, int]:
        """The name to ask for, and the longest prompt with its answer, in tokens."""
        async with self._get("/v1/models") as answer:
            listed = _usable(await answer.json(), answer.status).get("data")
        models = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        mine = next((one for one in models if one.get("id") == self._model), models[0] if models else {})
        name, longest = mine.get("id"), mine.get("max_model_len")
        if not isinstance(name, str) or not isinstance(longest, int) or longest < 4:
            raise _NotUsable("/v1/models tells no length")
        return name, longest

    async def _complete(self, words: int) -> tuple[int, float]:
        """Send a prompt that no cache holds; return its uncached tokens and the seconds until its answer."""
        prompt = " ".join(random.choices(_WORDS, k=words))
        body = {"model": self._model, "prompt": prompt, "max_tokens": 1, "temperature": 0}
        started = self._clock()
        async with self._http.post(f"{self._url}/v1/completions", json=body, headers=self._headers) as answer:
            usage = _usable(await answer.json(), answer.status).get("usage")
        seconds = self._clock() - started
        tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        if not isinstance(tokens, int) or tokens < 1 or seconds <= 0:
            raise _NotUsable("/v1/completions tells no prompt tokens")
        return tokens, seconds

    async def _answered(self) -> float | None:
        """First tokens of all requests so far, if the engine counts them."""
        async with self._get("/metrics") as answer:
            return read_metrics(await answer.content.read(_ANSWER_OCTETS)).first_tokens

    def _get(self, path: str) -> "aiohttp.client._RequestContextManager":
        return self._http.get(self._url + path, headers=self._headers, allow_redirects=False)


def _usable(content: Any, status: int) -> dict[str, Any]:
    if status != 200 or not isinstance(content, dict):
        raise _NotUsable(f"status {status}")
    return content
