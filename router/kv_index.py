"""What engines really hold, by their own word, and which beginning of a prompt that is. Pure; one owner changes it.

An engine names its blocks by hashes of its own, which may differ from those of the next one. What does not differ are
the tokens: a block's *key* is a hash over its tokens and everything before them, the same for all engines of a model.
Which key the beginning of a prompt ends with is learnt: somebody tokenizes a prompt that was served, and for each of
its byte blocks (see `blocks`) the deepest whole engine block within it is remembered. Where a block of octets ends in
tokens is estimated by proportion; a second prompt with the same beginning shows where that went too far.

A decision only looks up what was learnt. What is learnt of a prompt counts once an engine said that it holds it: until
then the tokens may be others than the engine computes, and the approximate index answers.
"""

from array import array
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest

from router.kv_wire import AllBlocksCleared, BlockRemoved, BlockStored, Event, Hash

_MOST_PROMPT_BLOCKS: Final = 131_072
_MOST_BLOCKS: Final = 262_144  # of one engine, rarely more than its cache: bounds what a lost removal can leave
_MOST_EXPECTED: Final = 1024
_EXPECTED_SECONDS: Final = 10.0  # a prompt just sent somewhere is computed there by then, or will wait long anyway
_MOST_GROUPS: Final = 1024
_TOKEN_OCTETS: Final = 4
_NEAR: Final = 1  # in the device's memory; anywhere else that the engine fetches it from
_FAR: Final = 2
_NEAR_NAMES: Final = {None, "GPU"}


class _Cache:
    """One engine: its blocks by its own hashes, each with its key and where it is."""

    __slots__ = ("bit", "block_size", "blocks", "capacity", "fresh", "model", "odd", "whole")

    def __init__(self, model: str, bit: int) -> None:
        self.model = model
        self.bit = bit
        self.blocks: dict[Hash, tuple[int, int]] = {}
        self.block_size = 0
        self.capacity = 0
        self.fresh = 0  # tokens stored since its story began: a cache's worth of them has replaced what was before
        self.odd = False  # its blocks are of another size than those of the model's other engines
        self.whole = False


class _Known(NamedTuple):
    """A byte block of prompts: so many engine blocks deep, the last of them this one; whether an engine has held it."""

    depth: int
    key: int
    seen: bool


class KvIndex:
    """Events in, knowledge of prompts in, corrected beliefs out.

    `orphans` counts blocks whose beginning is not known, `overflows` blocks that were given up for want of room.
    """

    def __init__(self, capacity: int = _MOST_PROMPT_BLOCKS) -> None:
        self._capacity = capacity
        self._caches: dict[str, _Cache] = {}
        self._names: dict[int, str] = {}
        self._groups: dict[int, list[str]] = {}
        self._whole = 0
        self._holders: dict[int, int] = {}  # key → who holds it
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._unseen: dict[int, set[int]] = {}  # key → byte blocks that wait for somebody to hold it
        self._expected: dict[int, int] = {}
        self._expiries: deque[tuple[float, int, tuple[int, ...]]] = deque()
        self.orphans = self.overflows = 0

    def __len__(self) -> int:
        """Byte blocks of which the engines' block is known."""
        return len(self._known)

    # -------------------------------------------------------------------------------------------------------- engines

    def follow(self, engine: str, model: str) -> None:
        """`engine`, which serves `model`, is going to tell what it holds."""
        if engine not in self._caches:
            bit = 1
            while bit in self._names:
                bit <<= 1
            self._caches[engine] = _Cache(model, bit)
            self._names[bit] = engine
            self._groups.clear()

    def leave(self, engine: str) -> None:
        """`engine` tells nothing any more."""
        self.begin(engine, whole=False)
        cache = self._caches.pop(engine, None)
        if cache is not None:
            del self._names[cache.bit]
            self._groups.clear()

    def resize(self, engine: str, capacity_tokens: int) -> None:
        """`engine`'s cache has room for so many tokens."""
        cache = self._caches.get(engine)
        if cache is not None:
            cache.capacity = capacity_tokens

    def begin(self, engine: str, *, whole: bool) -> None:
        """`engine`'s story begins anew. `whole`: with an empty cache; else it may hold what nobody has told."""
        cache = self._caches.get(engine)
        if cache is None:
            return
        for key, _ in cache.blocks.values():
            self._release(key, cache.bit)
        cache.blocks.clear()
        cache.fresh = cache.block_size = 0
        cache.odd = False
        self._mark(cache, whole=whole)

    def is_whole(self, engine: str) -> bool:
        """Whether all that `engine` holds is known."""
        cache = self._caches.get(engine)
        return cache is not None and cache.whole

    def blocks(self, engine: str) -> int:
        """How many blocks `engine` is known to hold."""
        cache = self._caches.get(engine)
        return len(cache.blocks) if cache is not None else 0

    def block_size(self, model: str) -> int:
        """Tokens in a block of `model`'s engines; 0 until one has told."""
        return next((cache.block_size for cache in self._of(model) if cache.block_size), 0)

    def apply(self, engine: str, events: Iterable[Event]) -> None:
        """Take over what happened at `engine`, in this order. Raises ValueError for tokens that are none."""
        cache = self._caches.get(engine)
        if cache is None:
            return
        for event in events:
            if isinstance(event, BlockStored):
                self._stored(cache, event)
            elif isinstance(event, BlockRemoved):
                self._removed(cache, event)
            elif isinstance(event, AllBlocksCleared):
                self.begin(engine, whole=True)

    # -------------------------------------------------------------------------------------------------------- prompts

    def knows(self, blocks: Sequence[int]) -> bool:
        """Whether there is nothing to learn of a prompt of these byte blocks."""
        return not blocks or blocks[-1] in self._known

    def learn(
        self,
        model: str,
        blocks: Sequence[int],
        ends: Sequence[int],
        *,
        prompt_tokens: int,
        tokens: Sequence[int],
        size: int,
    ) -> None:
        """A prompt of these byte blocks, `prompt_tokens` long by estimate, has these tokens; `size` make a block."""
        keys = chain(model, tokens, size)
        scale = len(tokens) / prompt_tokens / size if prompt_tokens else 0.0
        depth, found = 0, []
        for block, end in zip(blocks, ends, strict=True):
            old = self._known.get(block)
            if old is None:
                depth = max(depth, min(int(end * scale), len(keys)))
            elif not old.depth or (old.depth <= len(keys) and keys[old.depth - 1] == old.key):
                depth = old.depth
            found.append((block, depth))
        for block, deep in reversed(found):  # a chain's beginning is the last to be forgotten
            self._note(block, deep, keys[deep - 1] if deep else 0)
        while len(self._known) > self._capacity:
            self._forget(*self._known.popitem(last=False))

    def correct(self, held: dict[str, int], blocks: Sequence[int], ends: Sequence[int]) -> dict[str, int]:
        """Return `held`, the tokens each engine is believed to hold of a prompt, as far as engines have told better.

        An engine that holds all that is known of the prompt may hold what is believed beyond; one that has dropped
        something does not. Of an engine whose story is not whole it is only known what it holds, not what it lacks.
        """
        last = self._last(blocks)
        if last < 0:
            return held
        known, holders, expected = self._known, self._holders, self._expected
        left = -1
        for at in range(last, -1, -1):
            block = blocks[at]
            bits = (holders.get(known[block].key, 0) | expected.get(block, 0)) & left
            if bits:
                left &= ~bits
                self._say(held, bits, ends[at], capped=at < last)
        for name in self._named(self._whole & left):
            held.pop(name, None)
        return held

    def expect(self, engine: str, blocks: Sequence[int], now: float) -> None:
        """A prompt of these byte blocks was sent to `engine`, which is going to compute what it lacks of it."""
        cache, last = self._caches.get(engine), self._last(blocks)
        if cache is None or last < 0 or len(self._expiries) >= _MOST_EXPECTED:
            return
        if not self._holders.get(self._known[blocks[last]].key, 0) & cache.bit:
            lacking = tuple(blocks[: last + 1])
            self._expiries.append((now + _EXPECTED_SECONDS, cache.bit, lacking))
            for block in lacking:
                self._expected[block] = self._expected.get(block, 0) | cache.bit

    def expire(self, now: float) -> None:
        """Expect no more what was expected long enough."""
        while self._expiries and self._expiries[0][0] <= now:
            _, bit, blocks = self._expiries.popleft()
            for block in blocks:
                left = self._expected.get(block, 0) & ~bit
                if left:
                    self._expected[block] = left
                else:
                    self._expected.pop(block, None)

    # --------------------------------------------------------------------------------------------------------- inside

    def _stored(self, cache: _Cache, event: BlockStored) -> None:
        size, count = event.block_size, len(event.block_hashes)
        if event.group_idx or not count or size * count != len(event.token_ids):
            return  # another layer's view of the same tokens, or less than a block
        cache.fresh += size * count
        if not cache.whole and cache.capacity and cache.fresh >= cache.capacity:
            self._mark(cache, whole=True)
        if event.parent_block_hash is None:
            parent = root(cache.model)
        elif event.parent_block_hash in cache.blocks:
            parent = cache.blocks[event.parent_block_hash][0]
        else:
            self.orphans += count
            return
        if cache.block_size != size:
            self._measure(cache, size)
        keys = _keys(parent, event.token_ids, size, _apart(event))
        self._hold(cache, zip(event.block_hashes, keys, strict=True), _place(event.medium))

    def _hold(self, cache: _Cache, blocks: Iterable[tuple[Hash, int]], place: int) -> None:
        for name, key in blocks:
            old = cache.blocks.get(name)
            cache.blocks[name] = (key, place | (old[1] if old else 0))
            if old and old[0] != key:
                self._release(old[0], cache.bit)
            self._holders[key] = self._holders.get(key, 0) | cache.bit
            if key in self._unseen:
                for block in self._unseen.pop(key):
                    self._known[block] = self._known[block]._replace(seen=True)
        while len(cache.blocks) > _MOST_BLOCKS:
            self._drop(cache, next(iter(cache.blocks)))
            self.overflows += 1

    def _removed(self, cache: _Cache, event: BlockRemoved) -> None:
        if event.group_idx:
            return
        gone = _place(event.medium)
        for name in event.block_hashes:
            found = cache.blocks.get(name)
            if found is not None and found[1] & ~gone:
                cache.blocks[name] = (found[0], found[1] & ~gone)
            elif found is not None:
                self._drop(cache, name)

    def _drop(self, cache: _Cache, name: Hash) -> None:
        self._release(cache.blocks.pop(name)[0], cache.bit)

    def _release(self, key: int, bit: int) -> None:
        left = self._holders.get(key, 0) & ~bit
        if left:
            self._holders[key] = left
        else:
            self._holders.pop(key, None)

    def _measure(self, cache: _Cache, size: int) -> None:
        """Engines with other blocks than the first one share no keys with it: what they lack cannot be known."""
        cache.odd = any(other is not cache and other.block_size not in {0, size} for other in self._of(cache.model))
        cache.block_size = size
        self._mark(cache, whole=cache.whole)

    def _of(self, model: str) -> Iterable[_Cache]:
        return (cache for cache in self._caches.values() if cache.model == model and not cache.odd)

    def _mark(self, cache: _Cache, *, whole: bool) -> None:
        cache.whole = whole and not cache.odd
        self._whole = self._whole | cache.bit if cache.whole else self._whole & ~cache.bit

    def _note(self, block: int, depth: int, key: int) -> None:
        old = self._known.get(block)
        if old is None or (old.depth, old.key) != (depth, key):
            if old is not None:
                self._forget(block, old)
            seen = not depth or key in self._holders
            self._known[block] = _Known(depth, key, seen)
            if not seen:
                self._unseen.setdefault(key, set()).add(block)
        self._known.move_to_end(block)

    def _forget(self, block: int, old: _Known) -> None:
        waiting = self._unseen.get(old.key)
        if waiting is not None:
            waiting.discard(block)
            if not waiting:
                del self._unseen[old.key]

    def _last(self, blocks: Sequence[int]) -> int:
        """The last of a prompt's byte blocks that engines can be asked about; -1: none."""
        known = self._known
        for at in range(len(blocks) - 1, -1, -1):
            found = known.get(blocks[at])
            if found is not None and found.seen:
                return at if found.depth and all(block in known for block in blocks[:at]) else -1
        return -1

    def _say(self, held: dict[str, int], bits: int, tokens: int, *, capped: bool) -> None:
        for name in self._named(bits):
            believed = held.get(name, 0)
            if believed < tokens or (capped and self._caches[name].whole):
                held[name] = tokens

    def _named(self, bits: int) -> list[str]:
        names = self._groups.get(bits)
        if names is None:
            if len(self._groups) >= _MOST_GROUPS:
                self._groups.clear()
            names = self._groups[bits] = [name for bit, name in self._names.items() if bits & bit]
        return names


def root(model: str) -> int:
    """Return the key that stands before a model's first block."""
    return xxh3_64_intdigest(model.encode())


def chain(model: str, tokens: Sequence[int], size: int) -> list[int]:
    """Return the keys of all whole blocks of `size` of these tokens. Raises ValueError for tokens that are none."""
    return _keys(root(model), tokens, size, ())


def _keys(parent: int, tokens: Sequence[int], size: int, apart: Sequence[int]) -> list[int]:
    try:
        octets = memoryview(array("I", tokens)).cast("B")
    except (OverflowError, TypeError) as error:
        raise ValueError(f"tokens that are none: {error}") from None
    keys, key, step = [], parent, size * _TOKEN_OCTETS
    for at in range(len(tokens) // size):
        key = xxh3_64_intdigest(octets[at * step : (at + 1) * step], key ^ apart[at] if apart else key)
        keys.append(key)
    return keys


def _apart(event: BlockStored) -> Sequence[int]:
    """What tells blocks of the same tokens apart, by block: adapter, salt, images; nothing where nothing does."""
    extra = event.extra_keys
    if event.lora_name is None and (extra is None or not any(extra)):
        return ()
    named = [*(extra or ()), *([None] * len(event.block_hashes))][: len(event.block_hashes)]
    adapter = event.lora_name
    return [xxh3_64_intdigest(msgspec.msgpack.encode((adapter, each))) if each or adapter else 0 for each in named]


def _place(medium: str | None) -> int:
    return _NEAR if medium in _NEAR_NAMES else _FAR
