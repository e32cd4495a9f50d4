"""Our rule: the real Fleet, one or several of them, told what its router would be told."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import xxhash

from router.fleet import EngineSettings, Fleet, FleetSettings, Outcome, Probe
from router.parse import Ask
from router.pick import Rule
from tests.bench.quality.rules import key_of
from tests.bench.quality.traffic import Traffic
from tests.bench.quality.world import Engine, Request

Split = Literal["hash", "random", "beginning"]
_MODEL = "sim"
_PROBE_SECONDS = 2
# Where the router cuts a prompt into blocks, in tokens of four characters: short ones first.
_UPTO = tuple(accumulate([128] * 4 + [256] * 6 + [512] * 8 + [1024] * 38))


@dataclass(frozen=True, slots=True)
class Deciders:
    """How many routers decide, how requests come to them, and every how many seconds they share their load.

    `split`: by the session's name, at random, or by how the prompt begins, as for requests that name no session.
    `share_seconds`: 0 is before every decision, as in memory that all of them map; None: never, and the gate closes.
    """

    count: int = 1
    split: Split = "hash"
    share_seconds: float | None = 0.1


class Ironrack:
    """The real fleets behind the world's protocol. `why` counts the reasons of every decision."""

    def __init__(self, traffic: Traffic, deciders: Deciders, seed: int) -> None:
        self.traffic = traffic
        self.why: Counter[str] = Counter()
        self._deciders = deciders
        self._draw = random.Random(f"split {seed}")
        self._fleets: list[Fleet] = []
        self._of: dict[str, Fleet] = {}
        self._shared = float("-inf")

    def choose(self, request: Request, now: float) -> str:
        """Ask the decider this request comes to."""
        self._share(now)
        fleet = self._fleet(request)
        choice = fleet.decide(self._ask(request), now)
        self._of[request.id] = fleet
        self.why[choice.why] += 1
        return choice.engine

    def begun(self, request: Request, now: float) -> None:
        """As the edge tells it."""
        self._of[request.id].begun(request.id, request.engine, now)

    def ended(self, request: Request, now: float) -> None:
        """As the access line tells it."""
        self._of.pop(request.id).finished(Outcome(request.id, request.engine, 200, chosen=request.engine), now)

    def tick(self, engines: dict[str, Engine], now: float) -> None:
        """Every second: time passes; every other one: the prober looks."""
        for fleet in self._fleets:
            known = fleet.loads()
            for name in known if round(now) % _PROBE_SECONDS == 0 else ():
                fleet.probe(name, _probe(engines[name], self.traffic), now)
            fleet.expire(now)

    def resize(self, names: tuple[str, ...], now: float) -> None:
        """A reload with other engines."""
        rate, alone = self.traffic.speed.prefill_rate, self._deciders.count == 1
        known = alone or self._deciders.share_seconds is not None
        settings = FleetSettings(
            tuple(EngineSettings(name, f"http://{name}", _MODEL, rate) for name in names),
            Rule() if known else Rule(gate_seconds=0.0),
        )
        for fleet in self._fleets:
            fleet.configure(settings)
        if not self._fleets:
            self._fleets = [Fleet(settings, now) for _ in range(self._deciders.count)]
        for fleet in self._fleets:
            for name in names:
                fleet.probe(name, Probe(ok=True, kv_usage=0.0, cache_tokens=self.traffic.cache_tokens), now)

    def _fleet(self, request: Request) -> Fleet:
        if self._deciders.split == "random":
            return self._draw.choice(self._fleets)
        key = key_of(request) if self._deciders.split == "hash" else request.blocks[0]
        return self._fleets[xxhash.xxh64_intdigest(key.to_bytes(8, "big")) % len(self._fleets)]

    def _share(self, now: float) -> None:
        every = self._deciders.share_seconds
        if len(self._fleets) == 1 or every is None or now < self._shared + every:
            return
        self._shared = now
        loads = [fleet.loads() for fleet in self._fleets]
        for fleet, own in zip(self._fleets, loads, strict=True):
            for name in own:
                tokens = sum(load[name][0] for load in loads) - own[name][0]
                fleet.foreign(name, tokens, sum(load[name][1] for load in loads) - own[name][1])

    def _ask(self, request: Request) -> Ask:
        size = self.traffic.block_tokens
        blocks, ends = coarse(request.blocks[: request.prompt_tokens // size], size)
        key = key_of(request)
        return Ask(request.id, _MODEL, key, str(key), "x-session-id", "-", request.prompt_tokens, True, blocks, ends)


def coarse(blocks: Sequence[int], size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A chain of blocks of `size` tokens as the router's parser would cut it, and the tokens up to each block's end."""
    ends = tuple(end for end in _UPTO if end % size == 0 and end <= len(blocks) * size)
    return tuple(blocks[end // size - 1] for end in ends), ends


def _probe(engine: Engine, traffic: Traffic) -> Probe:
    return Probe(
        ok=True,
        kv_usage=engine.scheduler.cache.used,
        progress=(float(engine.steps),),
        prompt_tokens=float(engine.prompts),
        busy=float(engine.busy),
        cache_tokens=traffic.cache_tokens,
    )
