"""Leases: what each request in flight holds of an engine, given back exactly once.

Every operation is O(1). The table is ordered by age, because all leases live equally long: the oldest is first.
"""

from collections import OrderedDict
from dataclasses import dataclass

from router.engine import Engine


@dataclass(slots=True)
class Lease:
    """One request's hold. `chosen`: where the decision sent it; `holder`: where its load is counted now.

    `epoch`: the life of `chosen`'s cache that the decision counted on. `taken_at`: monotonic seconds.
    `settles`: the decision made `chosen` the session's home.
    """

    id: str
    key: int
    chosen: Engine
    holder: Engine
    prompt_tokens: int
    uncached_tokens: int
    taken_at: float
    epoch: int = 0
    settles: bool = False
    begun: bool = False


_MOST_ENDED = 10_000


class Leases:
    """All leases, at most `capacity`, none older than `ttl_seconds`."""

    def __init__(self, capacity: int, ttl_seconds: float) -> None:
        self._capacity = capacity
        self._ttl = ttl_seconds
        self._by_id: OrderedDict[str, Lease] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self.replaced = self.evicted = self.expired = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def take(self, lease: Lease) -> None:
        """Count `lease`. One of the same id is given back first, and so is the oldest when the table is full."""
        if self.release(lease.id) is not None:
            self.replaced += 1
        elif len(self._by_id) >= self._capacity:
            self._drop(self._by_id.popitem(last=False)[1])
            self.evicted += 1
        self._by_id[lease.id] = lease
        lease.holder.take(lease.uncached_tokens)
        lease.chosen.health.chosen(lease.id, lease.taken_at)
        lease.chosen.changed()

    def ended(self, request_id: str) -> None:
        """The end of a request without a lease was heard; the latest such ids are kept."""
        self._ended[request_id] = None
        if len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)

    def too_late(self, request_id: str) -> bool:
        """Whether the end of this request was heard before its question: nobody waits for the answer any more."""
        return self._ended.pop(request_id, self) is None

    def find(self, request_id: str) -> Lease | None:
        """The lease of a request in flight."""
        return self._by_id.get(request_id)

    def resize(self, capacity: int, ttl_seconds: float) -> None:
        """Other bounds from now on; what is over them is given back."""
        self._capacity = capacity
        self._ttl = ttl_seconds
        while len(self._by_id) > capacity:
            self._drop(self._by_id.popitem(last=False)[1])
            self.evicted += 1

    def begin(self, request_id: str, server: Engine | None) -> Lease | None:
        """Give back the prefill load; the request counts at `server` from now on. None: unknown, or not the first."""
        lease = self._by_id.get(request_id)
        if lease is None or lease.begun:
            return None
        lease.begun = True
        lease.holder.prefilled(lease.uncached_tokens)
        if server is not None and server is not lease.holder:
            lease.holder.give_back()
            server.take(0)
            lease.holder = server
        return lease

    def release(self, request_id: str) -> Lease | None:
        """Give back whatever the lease still holds. None: unknown, or given back before."""
        lease = self._by_id.pop(request_id, None)
        if lease is not None:
            self._drop(lease)
        return lease

    def expire(self, now: float) -> None:
        """Give back what nobody gave back in time."""
        while self._by_id:
            oldest = next(iter(self._by_id.values()))
            if oldest.taken_at + self._ttl > now:
                return
            self.release(oldest.id)
            self.expired += 1

    def _drop(self, lease: Lease) -> None:
        if not lease.begun:
            lease.holder.prefilled(lease.uncached_tokens)
        lease.holder.give_back()
        lease.chosen.health.ended(lease.id)
        lease.chosen.changed()
