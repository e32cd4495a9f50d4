"""Which engine serves a request: one pure function over what the fleet knows.

Idea: a session's KV cache is worth what it would cost to compute again. So every engine gets a price in
seconds until it could answer,

    cost = (uncached prefill tokens queued there + this prompt's uncached tokens) / prefill rate
           + kv_weight · kv / (1 - kv)

and a session stays at its home while that costs at most `gate_seconds` more than the cheapest engine.
A first turn has no home: the plain cheapest, which copies a hot shared prompt by itself once a queue
costs more than one prefill.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import xxhash

from router.errors import NoEngine
from router.parse import Ask

_KV_FULL = 0.99
_UINT64 = (1 << 64) - 1


class Why(StrEnum):
    """The reason a request went where it went; the edge adds `fallback` and `retry` for its own choices."""

    HOME = "home"
    NEW = "new"
    SPILL = "spill"
    DRAIN = "drain"
    EJECT = "eject"
    FALLBACK = "fallback"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class EngineView:
    """One engine as a decision sees it.

    `uncached_in_flight`: prefill tokens sent there whose first byte has not come. `in_flight`: requests.
    `kv_usage`: share of its KV cache in use, 0…1. `epoch` counts the lives of its cache.
    `available`: may be given work as far as its health goes; `draining`: an operator wants it empty.
    """

    name: str
    uncached_in_flight: int
    in_flight: int
    prefill_tokens_per_second: float
    kv_usage: float = 0.0
    available: bool = True
    draining: bool = False
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Belief:
    """What one engine is believed to hold of a session: the first `tokens` of its prompt, in cache life `epoch`."""

    engine: str
    epoch: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Binding:
    """A session's home and what engines are believed to hold of it."""

    home: str
    beliefs: tuple[Belief, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """The routing rule's two numbers: `gate_seconds`, and `kv_weight` in seconds."""

    gate_seconds: float = 0.25
    kv_weight: float = 0.05


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine, why, what it must still compute, its price in seconds; `rebind`: it becomes the home."""

    engine: str
    why: Why
    uncached_tokens: int
    cost_seconds: float
    rebind: bool


@dataclass(frozen=True, slots=True)
class _Priced:
    engine: EngineView
    uncached_tokens: int
    seconds: float


def pick(ask: Ask, engines: Sequence[EngineView], binding: Binding | None, rule: Rule) -> Choice:
    """Choose among `engines`, all of `ask`'s model. Raises NoEngine when none may be given work."""
    home_name = binding.home if binding else ""
    beliefs = {belief.engine: belief for belief in binding.beliefs} if binding else {}
    best = home = None
    for engine in engines:
        if not engine.available or engine.draining:
            continue
        priced = _price(engine, ask.prompt_tokens, beliefs.get(engine.name), rule)
        if engine.name == home_name:
            home = priced
        if best is None or _before(priced, best, ask.key):
            best = priced
    if best is None:
        raise NoEngine(ask.model)
    if home is not None:
        stays = home.seconds <= best.seconds + rule.gate_seconds
        return _choice(home, Why.HOME, rebind=False) if stays else _choice(best, Why.SPILL, rebind=True)
    why = _why_away(engines, home_name)
    return _choice(best, why, rebind=why is Why.NEW)


def rendezvous(key: int, names: Iterable[str]) -> list[str]:
    """`names` in the order in which they may claim `key`, best first.

    Highest random weight: adding or removing a name leaves the order of the others as it was.
    """
    return sorted(names, key=lambda name: (-weight(key, name), name))


def weight(key: int, name: str) -> int:
    """How strongly `name` claims `key`: 64 bits, the same on every machine."""
    return xxhash.xxh3_64_intdigest(name.encode(), seed=key & _UINT64)


def _price(engine: EngineView, prompt_tokens: int, belief: Belief | None, rule: Rule) -> _Priced:
    held = belief.tokens if belief is not None and belief.epoch == engine.epoch else 0
    uncached = max(prompt_tokens - held, 0)
    kv = min(max(engine.kv_usage, 0.0), _KV_FULL)
    seconds = (engine.uncached_in_flight + uncached) / engine.prefill_tokens_per_second
    return _Priced(engine, uncached, seconds + rule.kv_weight * kv / (1.0 - kv))


def _before(one: _Priced, other: _Priced, key: int) -> bool:
    if one.seconds != other.seconds:
        return one.seconds < other.seconds
    if one.engine.in_flight != other.engine.in_flight:
        return one.engine.in_flight < other.engine.in_flight
    return weight(key, one.engine.name) > weight(key, other.engine.name)


def _why_away(engines: Sequence[EngineView], home: str) -> Why:
    for engine in engines:
        if engine.name == home:
            return Why.DRAIN if engine.draining else Why.EJECT
    return Why.NEW


def _choice(priced: _Priced, why: Why, *, rebind: bool) -> Choice:
    return Choice(priced.engine.name, why, priced.uncached_tokens, priced.seconds, rebind)
