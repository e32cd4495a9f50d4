"""The KV cache of one engine: blocks by chained hash, reference counts, least recently used out first."""

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Allocation:
    """What one sequence holds: `named` blocks anyone can hit, and `reserved` ones not computed yet."""

    hits: int
    reserved: int
    named: list[int] = field(default_factory=list)


class BlockCache:
    """A cache of `capacity` blocks. Blocks in use are never evicted; idle ones stay until room is needed."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._held: defaultdict[int, int] = defaultdict(int)
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._reserved = 0

    def __len__(self) -> int:
        return len(self._held) + len(self._idle) + self._reserved

    @property
    def used(self) -> float:
        """Share of the blocks that running sequences hold, 0 to 1."""
        return (len(self._held) + self._reserved) / self.capacity

    def match(self, chain: tuple[int, ...]) -> int:
        """How many leading blocks of `chain` are here."""
        for place, block in enumerate(chain):
            if block not in self._held and block not in self._idle:
                return place
        return len(chain)

    def admit(self, chain: tuple[int, ...], blocks: int) -> Allocation | None:
        """Hold the blocks that are here and make room for the rest of `blocks`; None if running ones leave no room."""
        hits = min(self.match(chain), blocks)
        fresh = sum(1 for block in chain[:hits] if block not in self._held)
        if len(self._held) + self._reserved + fresh + blocks - hits > self.capacity:
            return None
        for block in chain[:hits]:
            self._hold(block)
        self._reserved += blocks - hits
        self._evict()
        return Allocation(hits, blocks - hits, list(chain[:hits]))

    def commit(self, allocation: Allocation, block: int) -> None:
        """A reserved block is computed: from now on others can hit it."""
        if block in self._held or block in self._idle:
            return  # someone else computed the same block meanwhile: ours stays anonymous until release
        allocation.reserved -= 1
        self._reserved -= 1
        self._hold(block)
        allocation.named.append(block)

    def release(self, allocation: Allocation) -> None:
        """Give everything back; the tail of a sequence becomes the first to go, as its head is worth more."""
        self._reserved -= allocation.reserved
        allocation.reserved = 0
        for block in reversed(allocation.named):
            self._held[block] -= 1
            if not self._held[block]:
                del self._held[block]
                self._idle[block] = None
        allocation.named.clear()

    def _hold(self, block: int) -> None:
        self._idle.pop(block, None)
        self._held[block] += 1

    def _evict(self) -> None:
        while len(self) > self.capacity:
            self._idle.popitem(last=False)
