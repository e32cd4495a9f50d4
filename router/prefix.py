"""What each engine's KV cache is believed to hold: prompts' beginnings, block by block. Pure; one owner changes it.

A prompt's beginning is a chain of blocks: each block's hash covers everything before it, so who holds a block holds
all of the blocks up to it. One table for all engines maps a block to the set of engines (a bit
each), so that a decision looks up every block once, however many engines there are.

Per engine the blocks leave in the order in which an engine frees them: least recently used first, a chain's end
before its beginning. The index never believes more tokens than the engine's cache has room for: an index larger than
the cache keeps sending sessions where they were forgotten long ago.
"""

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

_MOST_BLOCKS: Final = 131_072  # of one engine: bounds memory where blocks are small
_MOST_GROUPS: Final = 1024


class _Cache:
    """One engine's blocks, oldest use first, each with its size in tokens."""

    __slots__ = ("bit", "blocks", "capacity", "tokens")

    def __init__(self, bit: int, capacity: int) -> None:
        self.bit = bit
        self.capacity = capacity
        self.tokens = 0
        self.blocks: OrderedDict[int, int] = OrderedDict()


class PrefixIndex:
    """Beliefs about the caches of engines, bounded by the caches' own sizes.

    `evicted` counts blocks that left for want of room, `lookups` and `hits` the prompts that were looked up and those
    of which some engine held the beginning.
    """

    def __init__(self) -> None:
        self._caches: dict[str, _Cache] = {}
        self._names: dict[int, str] = {}
        self._groups: dict[int, list[str]] = {}  # bits → names, worked out once
        self._holders: dict[int, int] = {}
        self.evicted = self.lookups = self.hits = 0

    def __len__(self) -> int:
        """Distinct blocks that some engine is believed to hold."""
        return len(self._holders)

    def resize(self, engine: str, capacity_tokens: int) -> None:
        """`engine`'s cache has room for so many tokens; 0 removes the engine."""
        cache = self._caches.get(engine)
        if capacity_tokens <= 0:
            self.drop(engine)
            if cache is not None:
                del self._caches[engine], self._names[cache.bit]
                self._groups.clear()
            return
        if cache is None:
            bit = _lowest_free(self._names)
            cache = self._caches[engine] = _Cache(bit, capacity_tokens)
            self._names[bit] = engine
            self._groups.clear()
        cache.capacity = capacity_tokens
        self._shrink(cache)

    def drop(self, engine: str) -> None:
        """`engine` holds nothing any more. It keeps its size: what is inserted from now on counts again."""
        cache = self._caches.get(engine)
        if cache is None:
            return
        for block in cache.blocks:
            self._release(block, cache.bit)
        cache.blocks.clear()
        cache.tokens = 0

    def tokens(self, engine: str) -> int:
        """Tokens that `engine` is believed to hold."""
        cache = self._caches.get(engine)
        return cache.tokens if cache is not None else 0

    def counts(self) -> dict[str, int]:
        """What happened so far, by the names of the fleet's snapshot."""
        return {"index_lookups": self.lookups, "index_hits": self.hits, "index_evicted": self.evicted}

    def match(self, blocks: Sequence[int], ends: Sequence[int]) -> dict[str, int]:
        """Tokens of the prompt's beginning that each engine is believed to hold; engines that hold none are absent.

        `ends[i]` is the number of tokens up to the end of block i. Who holds a block holds those before it, so only
        where the holders change is looked for: a few look-ups, however long the prompt.
        """
        self.lookups += 1
        held: dict[str, int] = {}
        holders = self._holders
        alive = holders.get(blocks[0], 0) if blocks else 0
        if not alive:
            return held
        self.hits += 1
        first, last = 0, len(blocks) - 1
        end_holders = holders.get(blocks[last], 0)
        while end_holders != alive:
            low, high, after = first, last, end_holders
            while high - low > 1:
                middle = (low + high) // 2
                found = holders.get(blocks[middle], 0)
                if found == alive:
                    low = middle
                else:
                    high, after = middle, found
            self._note(held, alive ^ after, ends[low])
            if not after:
                return held
            alive, first = after, high
        self._note(held, alive, ends[last])
        return held

    def insert(self, engine: str, blocks: Sequence[int], ends: Sequence[int]) -> None:
        """`engine` now computes a prompt of these blocks. Nothing for an engine whose size is not known."""
        cache = self._caches.get(engine)
        if cache is None:
            return
        known, holders = cache.blocks, self._holders
        first_new = bisect_left(blocks, True, key=lambda block: block not in known)
        for at in range(len(blocks) - 1, first_new - 1, -1):  # a chain's beginning is the last to be forgotten
            block = blocks[at]
            size = max(ends[at] - (ends[at - 1] if at else 0), 1)
            known[block] = size
            cache.tokens += size
            holders[block] = holders.get(block, 0) | cache.bit
        deque(map(known.move_to_end, blocks[first_new - 1 :: -1] if first_new else ()), maxlen=0)
        if cache.tokens > cache.capacity or len(known) > _MOST_BLOCKS:
            self._shrink(cache)

    def _shrink(self, cache: _Cache) -> None:
        blocks = cache.blocks
        while cache.tokens > cache.capacity or len(blocks) > _MOST_BLOCKS:
            block, size = blocks.popitem(last=False)
            cache.tokens -= size
            self._release(block, cache.bit)
            self.evicted += 1

    def _release(self, block: int, bit: int) -> None:
        left = self._holders[block] & ~bit
        if left:
            self._holders[block] = left
        else:
            del self._holders[block]

    def _note(self, held: dict[str, int], bits: int, tokens: int) -> None:
        names = self._groups.get(bits)
        if names is None:
            if len(self._groups) >= _MOST_GROUPS:
                self._groups.clear()
            names = self._groups[bits] = [name for bit, name in self._names.items() if bits & bit]
        held.update(dict.fromkeys(names, tokens))


def _lowest_free(taken: dict[int, str]) -> int:
    bit = 1
    while bit in taken:
        bit <<= 1
    return bit
