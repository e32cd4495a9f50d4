"""Which engine serves a request: one pure function over what the fleet knows.

Idea: a session's KV cache is worth what it would cost to compute again. So every engine gets a price in
seconds until it could answer,

    cost = (uncached prefill tokens queued there + this prompt's uncached tokens) / prefill rate
           + kv_weight · kv / (1 - kv)

and a session stays at its home while that costs at most `gate_seconds` more than the cheapest engine.
A first turn has no home: the plain cheapest, which copies a hot shared prompt by itself once a queue
costs more than one prefill.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
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


class EngineView(msgspec.Struct, frozen=True, gc=False):
    """One engine as a decision sees it.

    `uncached_in_flight`: prefill tokens sent there whose first byte has not come. `in_flight`: requests.
    `kv_usage`: share of its KV cache in use, 0…1. `epoch` counts the lives of its cache.
    `available`: may be given work as far as its health goes; `draining`: an operator wants it empty.
    `full`: it is at its admission cap.
    """

    name: str
    uncached_in_flight: int
    in_flight: int
    prefill_tokens_per_second: float
    kv_usage: float = 0.0
    available: bool = True
    draining: bool = False
    epoch: int = 0
    full: bool = False


class Belief(msgspec.Struct, frozen=True, gc=False):
    """What one engine is believed to hold of a session: the first `tokens` of its prompt, in cache life `epoch`."""

    engine: str
    epoch: int
    tokens: int


class Binding(msgspec.Struct, frozen=True, gc=False):
    """A session's home and what engines are believed to hold of it."""

    home: str
    beliefs: tuple[Belief, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """The routing rule's two numbers: `gate_seconds`, and `kv_weight` in seconds."""

    gate_seconds: float = 0.25
    kv_weight: float = 0.05


class Choice(msgspec.Struct, frozen=True, gc=False):
    """The engine, why, what it must still compute, its price in seconds; `rebind`: it becomes the home."""

    engine: str
    why: Why
    uncached_tokens: int
    cost_seconds: float
    rebind: bool


def pick(ask: Ask, engines: Sequence[EngineView], binding: Binding | None, rule: Rule) -> Choice:
    """Choose among `engines`, all of `ask`'s model. Raises NoEngine when none may be given work."""
    beliefs = {belief.engine: belief for belief in binding.beliefs} if binding is not None else {}
    best: EngineView | None = None
    least = math.inf
    for engine in engines:
        if not engine.available or engine.draining:
            continue
        seconds = cost(engine, uncached(engine, ask.prompt_tokens, beliefs.get(engine.name)), rule)
        if best is None or seconds < least or (seconds == least and _before(engine, best, ask.key)):
            best, least = engine, seconds
    if best is None:
        raise NoEngine(ask.model)
    why = Why.NEW
    if binding is not None:
        home = next((engine for engine in engines if engine.name == binding.home), None)
        why = _why(home, ask.prompt_tokens, beliefs, rule, least)
        best = home if home is not None and why is Why.HOME else best
    tokens = uncached(best, ask.prompt_tokens, beliefs.get(best.name))
    return Choice(best.name, why, tokens, cost(best, tokens, rule), rebind=why is Why.NEW or why is Why.SPILL)


def uncached(engine: EngineView, prompt_tokens: int, belief: Belief | None) -> int:
    """Tokens of the prompt that `engine` is not believed to hold; beliefs of another life of its cache are void."""
    if belief is None or belief.epoch != engine.epoch:
        return prompt_tokens
    return prompt_tokens - belief.tokens if belief.tokens < prompt_tokens else 0


def cost(engine: EngineView, uncached_tokens: int, rule: Rule) -> float:
    """Seconds until `engine` could answer a prompt of which it must compute `uncached_tokens`."""
    kv = engine.kv_usage if engine.kv_usage < _KV_FULL else _KV_FULL
    queue = (engine.uncached_in_flight + uncached_tokens) / engine.prefill_tokens_per_second
    return queue + rule.kv_weight * kv / (1.0 - kv)


def rendezvous(key: int, names: Iterable[str]) -> list[str]:
    """`names` in the order in which they may claim `key`, best first.

    Highest random weight: adding or removing a name leaves the order of the others as it was.
    """
    return sorted(names, key=lambda name: (-weight(key, name), name))


def weight(key: int, name: str) -> int:
    """How strongly `name` claims `key`: 64 bits, the same on every machine."""
    return xxhash.xxh3_64_intdigest(name.encode(), seed=key & _UINT64)


def _before(one: EngineView, other: EngineView, key: int) -> bool:
    if one.in_flight != other.in_flight:
        return one.in_flight < other.in_flight
    return weight(key, one.name) > weight(key, other.name)


def _why(home: EngineView | None, prompt_tokens: int, beliefs: Mapping[str, Belief], rule: Rule, least: float) -> Why:
    if home is None:
        return Why.NEW
    if home.draining:
        return Why.DRAIN
    if not home.available:
        return Why.EJECT
    seconds = cost(home, uncached(home, prompt_tokens, beliefs.get(home.name)), rule)
    return Why.HOME if seconds <= least + rule.gate_seconds else Why.SPILL
