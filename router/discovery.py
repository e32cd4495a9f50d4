"""What engines say they serve: each one's own `/v1/models`, read when it comes up and then every half minute.

Nothing waits for it, and a few are asked at a time. An engine that does not answer changes nothing; one that is gone is
forgotten.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import aiohttp

from router.fleet import EngineSnapshot
from router.models import Catalogue, Learnt, read_cards

EVERY_SECONDS = 30.0
_AGAIN_SECONDS = 5.0  # after a look that failed
_TICK_SECONDS = 1.0
_AT_ONCE = 16
_TIMEOUT_SECONDS = 5.0
_MOST_OCTETS = 1_048_576


class Discovery:
    """Reads the lists of all engines for ever. `changed` is called after a round that brought news.

    `engine_key`: the engines' API key, empty when they have none.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        engines: Callable[[], Iterable[EngineSnapshot]],
        *,
        changed: Callable[[], None] = lambda: None,
        engine_key: str = "",
        every: float = EVERY_SECONDS,
    ) -> None:
        self._catalogue = catalogue
        self._engines = engines
        self._changed = changed
        self._every = every
        self._due: dict[tuple[str, int], float] = {}  # next look by engine and life
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self.engine_key = engine_key

    async def run(self) -> None:
        """Look until cancelled."""
        limits = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(timeout=limits, connector=connector) as http:
            while True:
                await self._round(http, asyncio.get_running_loop().time())
                await asyncio.sleep(min(_TICK_SECONDS, self._every))

    async def _round(self, http: aiohttp.ClientSession, now: float) -> None:
        engines = tuple(self._engines())
        self._catalogue.keep_only(engine.name for engine in engines)
        lives = {(engine.name, engine.epoch): engine.url for engine in engines if engine.available}
        due = [life for life in lives if self._due.get(life, now) <= now]
        found = await asyncio.gather(*(self._look(http, lives[life]) for life in due))
        self._due = {life: when for life, when in self._due.items() if life in lives}
        self._due |= {
            life: now + (self._every if learnt else min(_AGAIN_SECONDS, self._every))
            for life, learnt in zip(due, found, strict=True)
        }
        news = [self._catalogue.learn(life[0], learnt) for life, learnt in zip(due, found, strict=True) if learnt]
        if any(news):
            self._changed()

    async def _look(self, http: aiohttp.ClientSession, url: str) -> Learnt | None:
        headers = {"authorization": f"Bearer {self.engine_key}"} if self.engine_key else {}
        async with self._gate:
            # What was learnt before holds; it is asked again soon, and its health is the prober's to judge.
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with http.get(f"{url}/v1/models", headers=headers, allow_redirects=False) as answer:
                    if answer.status == 200:
                        return read_cards(await _all(answer))
        return None


async def _all(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body if it is within bounds, else its beginning, which is then no JSON."""
    octets = b""
    while len(octets) < _MOST_OCTETS and (piece := await answer.content.readany()):
        octets += piece
    return octets[:_MOST_OCTETS]
