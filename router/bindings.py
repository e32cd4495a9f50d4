"""Bindings: each session's home and what engines are believed to hold of it. Bounded: oldest use first out."""

from collections import OrderedDict
from typing import Final

from router.pick import Belief, Binding

_MOST_BELIEFS: Final = 4
_EXPIRED_PER_CALL: Final = 10_000


class Bindings:
    """Sessions by key, at most `capacity`, none unused for longer than `ttl_seconds`."""

    def __init__(self, capacity: int, ttl_seconds: float) -> None:
        self._capacity = capacity
        self._ttl = ttl_seconds
        self._by_key: OrderedDict[int, tuple[Binding, float]] = OrderedDict()
        self.evicted = self.expired = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: int, now: float) -> Binding | None:
        """The session's binding, if it was used within the time to live."""
        entry = self._by_key.get(key)
        if entry is None or entry[1] + self._ttl <= now:
            return None
        return entry[0]

    def put(self, key: int, binding: Binding, now: float) -> None:
        """Remember `binding` as the one used last; a full table forgets the one unused for longest."""
        if key in self._by_key:
            self._by_key.move_to_end(key)
        elif len(self._by_key) >= self._capacity:
            self._by_key.popitem(last=False)
            self.evicted += 1
        self._by_key[key] = (binding, now)

    def believe(self, key: int, belief: Belief) -> None:
        """Correct what `belief.engine` is believed to hold (0 tokens: nothing); not a use of the session."""
        entry = self._by_key.get(key)
        if entry is not None:
            binding, used_at = entry
            self._by_key[key] = (Binding(binding.home, with_belief(binding.beliefs, belief), binding.strict), used_at)

    def move(self, key: int, old: str, new: str) -> None:
        """Make `new` the session's home if it is `old` still; not a use of the session."""
        entry = self._by_key.get(key)
        if entry is not None and entry[0].home == old:
            self._by_key[key] = (Binding(new, entry[0].beliefs), entry[1])

    def counts(self) -> dict[str, int]:
        """What happened so far, by the names of the fleet's snapshot."""
        return {"bindings_evicted": self.evicted, "bindings_expired": self.expired}

    def resize(self, capacity: int, ttl_seconds: float) -> None:
        """Other bounds from now on; what is over them is forgotten."""
        self._capacity = capacity
        self._ttl = ttl_seconds
        while len(self._by_key) > capacity:
            self._by_key.popitem(last=False)
            self.evicted += 1

    def expire(self, now: float) -> None:
        """Forget sessions that nobody uses any more; a bounded number per call, so that no decision waits long."""
        for _ in range(_EXPIRED_PER_CALL):
            if not self._by_key:
                return
            key, (_, used_at) = next(iter(self._by_key.items()))
            if used_at + self._ttl > now:
                return
            del self._by_key[key]
            self.expired += 1


def with_belief(beliefs: tuple[Belief, ...], belief: Belief) -> tuple[Belief, ...]:
    """`beliefs` with `belief` first in place of any about the same engine; the four latest are kept."""
    if len(beliefs) == 1 and beliefs[0].engine == belief.engine and belief.tokens > 0:
        return (belief,)  # the session that never left its home: nearly every call
    others = tuple(old for old in beliefs if old.engine != belief.engine)
    return (belief, *others[: _MOST_BELIEFS - 1]) if belief.tokens > 0 else others
