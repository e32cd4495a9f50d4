"""What is believed to lie in each engine's KV cache, and who says so. Pure; owned by the fleet.

Three sources: the blocks of prompts that were sent there, the last turn of a session, and, where engines tell of their
caches, what they say. The first two are guesses, which a request that is served elsewhere corrects.
"""

from collections.abc import Iterable, Mapping

from router.bindings import Bindings
from router.engine import Engine
from router.kv_index import KvIndex
from router.leases import Lease
from router.parse import Ask
from router.pick import Belief, Binding
from router.prefix import PrefixIndex


class Cached:
    """Prompts by engine. `told`: what engines say of their caches, if they do; `bindings`: the fleet's own."""

    def __init__(self, bindings: Bindings, told: KvIndex | None) -> None:
        self._bindings = bindings
        self._told = told
        self._index = PrefixIndex()
        self._enabled = True

    def size(self, engines: Iterable[Engine], *, enabled: bool) -> None:
        """Give the index as much room for each engine as its cache has; none when it is switched off."""
        self._enabled = enabled
        for engine in engines:
            self._index.resize(engine.name, engine.cache_tokens if enabled else 0)

    def remove(self, engine: str) -> None:
        """`engine` is gone for good, or is another one of that name."""
        self._index.resize(engine, 0)

    def lost(self, engine: str) -> None:
        """`engine` lost what its cache held."""
        self._index.drop(engine)
        if self._told is not None:
            self._told.begin(engine, whole=False)

    def of(
        self, ask: Ask, binding: Binding | None, heard: Belief | None, engines: Mapping[str, Engine]
    ) -> dict[str, int] | None:
        """Tokens of this prompt that each engine is believed to hold; None where nobody keeps count.

        Blocks cover a prompt's beginning only. Where an engine holds all of that, it holds as much of this session as
        its last turn left there.
        """
        if not ask.blocks or not self._enabled:
            return None
        held = self._index.match(ask.blocks, ask.ends)
        if heard is not None:
            held[heard.engine] = max(held.get(heard.engine, 0), heard.tokens)
        if self._told is not None:
            held = self._told.correct(held, ask.blocks, ask.ends)
        if held and binding is not None:
            hashed = ask.ends[-1]
            for belief in binding.beliefs:
                name = belief.engine
                if belief.tokens > hashed == held.get(name) and engines[name].health.epoch == belief.epoch:
                    held[name] = belief.tokens
        return held

    def sent(self, ask: Ask, engine: str, now: float) -> None:
        """This prompt is on its way to `engine`, which is going to hold it."""
        if ask.blocks and self._enabled:
            self._index.insert(engine, ask.blocks, ask.ends)
            if self._told is not None:
                self._told.expect(engine, ask.blocks, now)

    def computed(self, lease: Lease, engine: Engine | None) -> None:
        """The prompt was computed on `engine` (None: nowhere): where that is not as expected, believe it instead."""
        if engine is lease.chosen:
            return
        ask = lease.ask
        before = ask.prompt_tokens - lease.uncached_tokens
        self._bindings.believe(ask.key, Belief(lease.chosen.name, lease.epoch, before))
        if engine is None:
            return
        self._bindings.believe(ask.key, Belief(engine.name, engine.health.epoch, ask.prompt_tokens))
        if ask.blocks and self._enabled:
            self._index.insert(engine.name, ask.blocks, ask.ends)
        if lease.settles:
            self._bindings.move(ask.key, lease.chosen.name, engine.name)

    def tokens(self, engine: str) -> int:
        """Tokens that the index holds for `engine`."""
        return self._index.tokens(engine)

    def counts(self) -> dict[str, int]:
        """What the index did."""
        return self._index.counts()

    def __len__(self) -> int:
        return len(self._index)
