"""Which engine serves a request: one pure function over what the fleet knows.

Idea: a session's KV cache is worth what it would cost to compute again. So every engine gets a price in
seconds until it could answer,

    cost = (uncached prefill tokens queued there + this prompt's uncached tokens) / prefill rate
           + kv_weight · kv / (1 - kv)

and a session stays at its home while that costs at most `gate_seconds` more than the cheapest engine.
A first turn has no home: the plain cheapest, which copies a hot shared prompt by itself once a queue
costs more than one prefill. What continues a stored response goes to the engine that stored it, whatever it costs.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import xxhash

from router.errors import NoEngine, Saturated
from router.values import Ask, Belief, Binding, Choice, EngineView, Rule, Why

__all__ = [
    "Belief",
    "Binding",
    "Choice",
    "EngineView",
    "Rule",
    "Why",
    "cost",
    "pick",
    "rendezvous",
    "uncached",
    "weight",
]

_KV_FULL: Final = 0.99
_UINT64: Final = (1 << 64) - 1
_NOTHING: Final[Mapping[str, int]] = {}
_STEPS: Final = 100.0  # to a second: prices in the same step are one price, and who has fewer in flight goes first


def pick(
    ask: Ask,
    engines: Sequence[EngineView],
    binding: Binding | None,
    rule: Rule,
    held: Mapping[str, int] | None = None,
) -> Choice:
    """Choose among `engines`, all of `ask`'s model. Raises NoEngine when none may be given work, Saturated when all
    that may are at their cap.

    `held`: the tokens of this prompt that each engine is believed to hold, by an index of their caches; engines that
    are not in it hold none. None: no index knows this prompt, and what the binding says of the last turn counts.
    """
    known = _Known(ask, binding, held)
    home = _home(engines, binding) if binding is not None else None
    if home is not None and binding is not None and binding.strict and home.available and not home.draining:
        return _stay(ask, home, known, rule)
    best, tokens, seconds, cheapest, home_tokens, home_seconds = _prices(ask, engines, home, known, rule)
    if best is None:
        raise _refusal(ask, engines)
    why = Why.NEW if home is None else _why(home, home_seconds, cheapest + rule.gate_seconds)
    if why is Why.SPILL and home is not None and not home.full and home_seconds * _STEPS // 1 == seconds * _STEPS // 1:
        why = Why.HOME  # one price: no reason to leave, however narrow the gate is
    if why is Why.HOME and home is not None:
        return Choice(home.name, why, home_tokens, home_seconds, rebind=False)
    return Choice(best.name, why, tokens, seconds, rebind=why is Why.NEW or why is Why.SPILL)


def uncached(prompt_tokens: int, held: int) -> int:
    """Tokens to compute of a prompt of which the first `held` are cached: the last one always is among them."""
    if held < prompt_tokens:
        return prompt_tokens - held
    return 1 if prompt_tokens else 0


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
    return xxhash.xxh3_64_intdigest(name.encode(), key & _UINT64)


class _Known:
    """What is known of caches: what an index says where there is one, else beliefs about caches that still live."""

    __slots__ = ("epochs", "prompt_tokens", "tokens")

    def __init__(self, ask: Ask, binding: Binding | None, held: Mapping[str, int] | None) -> None:
        self.prompt_tokens = ask.prompt_tokens
        self.tokens = held or _NOTHING
        self.epochs: Mapping[str, int] = _NOTHING
        if held is None and binding is not None:
            self.tokens = {belief.engine: belief.tokens for belief in binding.beliefs}
            self.epochs = {belief.engine: belief.epoch for belief in binding.beliefs}

    def held(self, engine: EngineView) -> int:
        """Tokens of this prompt that `engine` holds."""
        return self.tokens.get(engine.name, 0) if self.epochs.get(engine.name, engine.epoch) == engine.epoch else 0

    def uncached(self, engine: EngineView) -> int:
        """Tokens of this prompt that `engine` must compute."""
        return uncached(self.prompt_tokens, self.held(engine))


def _home(engines: Sequence[EngineView], binding: Binding) -> EngineView | None:
    name = binding.home
    for engine in engines:
        if engine.name == name:
            return engine
    return None


def _prices(
    ask: Ask, engines: Sequence[EngineView], home: EngineView | None, known: _Known, rule: Rule
) -> tuple[EngineView | None, int, float, float, int, float]:
    """The engine that could answer first: it, its tokens and price, the least price; the home's tokens and price.

    On every request's way, so `cost` is written out. A home that may not be given work costs infinitely much.
    """
    best: EngineView | None = None
    least = cheapest = step = home_seconds = math.inf
    fewest = home_tokens = claim = 0
    held, epochs, prompt_tokens, kv_weight = known.tokens, known.epochs, known.prompt_tokens, rule.kv_weight
    one = min(prompt_tokens, 1)
    for engine in engines:
        if not engine.available or engine.draining or engine.full:
            continue
        tokens = prompt_tokens
        if held and engine.name in held:
            tokens -= known.held(engine) if epochs else held[engine.name]
            tokens = tokens if tokens > 0 else one
        seconds = (engine.uncached_in_flight + tokens) / engine.prefill_tokens_per_second
        if seconds * _STEPS >= step + 1 and engine is not home:
            continue
        kv = engine.kv_usage if engine.kv_usage < _KV_FULL else _KV_FULL
        seconds += kv_weight * kv / (1.0 - kv)
        if engine is home:
            home_seconds, home_tokens = seconds, tokens
        cheapest = seconds if seconds < cheapest else cheapest
        steps = seconds * _STEPS // 1
        if best is None or steps < step:
            best, step, least, fewest, claim = engine, steps, seconds, tokens, 0
        elif steps == step:
            best, claim = _first(best, claim, engine, ask.key)
            if best is engine:
                least, fewest = seconds, tokens
    return best, fewest, least, cheapest, home_tokens, home_seconds


def _first(best: EngineView, claim: int, other: EngineView, key: int) -> tuple[EngineView, int]:
    """Of two that cost the same: fewer in flight, then rendezvous order. `claim`: the weight of `best`, 0: unknown."""
    if best.in_flight != other.in_flight:
        return (best, claim) if best.in_flight < other.in_flight else (other, 0)
    mine, theirs = claim or weight(key, best.name), weight(key, other.name)
    if mine != theirs:
        return (best, mine) if mine > theirs else (other, theirs)
    return (best, mine) if best.name < other.name else (other, theirs)


def _stay(ask: Ask, home: EngineView, known: _Known, rule: Rule) -> Choice:
    """Home, whatever it costs; where it is at its cap, the request waits for it."""
    if home.full:
        raise Saturated(ask.model, engine=home.name)
    tokens = known.uncached(home)
    return Choice(home.name, Why.HOME, tokens, cost(home, tokens, rule), rebind=False)


def _why(home: EngineView, seconds: float, most: float) -> Why:
    if home.draining:
        return Why.DRAIN
    if not home.available:
        return Why.EJECT
    return Why.HOME if seconds <= most and not home.full else Why.SPILL


def _refusal(ask: Ask, engines: Sequence[EngineView]) -> NoEngine | Saturated:
    full = any(engine.available and not engine.draining for engine in engines)
    return Saturated(ask.model) if full else NoEngine(ask.model)
