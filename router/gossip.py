"""What routers on other edge hosts have sent to the engines, asked of each of them four times a second.

An answer fades as it ages, by half in 0.7 s, and is dropped after 2 s: what is heard of a peer is at most as wrong as
its silence is long. A peer that does not answer is asked less and less often, and never waited for.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import aiohttp
import msgspec

from router.shared import Load

logger = logging.getLogger(__name__)

PATH = "/internal/load"
_EVERY_SECONDS = 0.25
_PATIENCE_SECONDS = 1.0
_SLOWEST_SECONDS = 5.0
_STALE_SECONDS = 2.0
_FADE_SECONDS = 1.0
_MOST_OCTETS = 1_048_576


class Report(msgspec.Struct, frozen=True):
    """One router's own load: by engine its uncached tokens and its requests in flight."""

    loads: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Heard:
    """What a peer said, and when, in monotonic seconds."""

    loads: Mapping[str, Load]
    at: float


def together(heard: Iterable[Heard], now: float) -> dict[str, Load]:
    """Return the load of all peers, each faded by its age."""
    sums: dict[str, tuple[float, float]] = {}
    for each in heard:
        age = now - each.at
        if age > _STALE_SECONDS:
            continue
        share = math.exp(-max(age, 0.0) / _FADE_SECONDS)
        for engine, (tokens, requests) in each.loads.items():
            before = sums.get(engine, (0.0, 0.0))
            sums[engine] = (before[0] + share * max(tokens, 0), before[1] + share * max(requests, 0))
    return {engine: (round(tokens), round(requests)) for engine, (tokens, requests) in sums.items()}


class Gossip:
    """Asks peers for ever; `peers` are base URLs of their HTTP sides."""

    def __init__(self, peers: Iterable[str], clock: Callable[[], float]) -> None:
        self.peers = tuple(peers)
        self._clock = clock
        self._heard: dict[str, Heard] = {}
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._start: Callable[[str], asyncio.Task[None]] | None = None
        self._decode = msgspec.json.Decoder(Report).decode

    def configure(self, peers: Iterable[str]) -> None:
        """Ask these peers from now on."""
        self.peers = tuple(peers)
        for gone in [peer for peer in self._loops if peer not in self.peers]:
            self._loops.pop(gone).cancel()
            self._heard.pop(gone, None)
        self._start_loops()

    def loads(self, now: float) -> dict[str, Load]:
        """Return what the peers that were heard of lately have where."""
        return together(self._heard.values(), now)

    def up(self, now: float) -> int:
        """Return how many peers were heard of lately."""
        return sum(now - heard.at <= _STALE_SECONDS for heard in self._heard.values())

    async def run(self) -> None:
        """Ask until cancelled."""
        connector = aiohttp.TCPConnector(limit_per_host=1)
        patience = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=patience) as http, asyncio.TaskGroup() as group:
            self._start = lambda peer: group.create_task(self._keep_asking(http, peer), name=f"gossip {peer}")
            try:
                self._start_loops()
                await asyncio.Event().wait()
            finally:
                self._start = None
                self._loops.clear()

    def _start_loops(self) -> None:
        if self._start is not None:
            for peer in self.peers:
                if peer not in self._loops:
                    self._loops[peer] = self._start(peer)

    async def _keep_asking(self, http: aiohttp.ClientSession, peer: str) -> None:
        pause, silent = _EVERY_SECONDS, False
        while True:
            answered = await self._answers(http, peer)
            if answered is silent:
                silent = not answered
                logger.info(
                    "peer %s: %s", peer, "no answer: what it has where is not known" if silent else "it answers"
                )
            pause = _EVERY_SECONDS if answered else min(pause * 2, _SLOWEST_SECONDS)
            await asyncio.sleep(pause)

    async def _answers(self, http: aiohttp.ClientSession, peer: str) -> bool:
        asked = self._clock()
        try:
            async with http.get(f"{peer}{PATH}", allow_redirects=False) as answer:
                answer.raise_for_status()
                report = self._decode(await _whole(answer.content))
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError, ValueError):
            return False
        self._heard[peer] = Heard(report.loads, asked)
        return True


async def _whole(content: aiohttp.StreamReader) -> bytes:
    octets = b""
    async for piece in content.iter_any():
        octets += piece
        if len(octets) > _MOST_OCTETS:
            raise ValueError("a report without an end")
    return octets
