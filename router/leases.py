"""Leases: what each request in flight holds of an engine, given back exactly once.

Every operation on the request path is O(1). The table is ordered by age, because all leases live equally long: the
oldest is first. Ages are monotonic seconds: a clock that is set does not matter.
"""

from collections import OrderedDict
from itertools import takewhile
from typing import Final

from router.engine import Engine
from router.values import Ask


class Lease:
    """One request's hold. `chosen`: where the decision sent it; `holder`: where its load is counted now.

    `epoch`: the life of `chosen`'s cache that the decision counted on. `taken_at`: monotonic seconds.
    `settles`: the decision made `chosen` the session's home. `ahead_tokens`: what `holder` had to compute up to this
    request's first byte when it came.
    """

    __slots__ = ("ahead_tokens", "ask", "begun", "chosen", "epoch", "holder", "settles", "taken_at", "uncached_tokens")

    def __init__(
        self, ask: Ask, chosen: Engine, uncached_tokens: int, taken_at: float, epoch: int, *, settles: bool
    ) -> None:
        self.ask = ask
        self.chosen = self.holder = chosen
        self.uncached_tokens = uncached_tokens
        self.taken_at = taken_at
        self.epoch = epoch
        self.settles = settles
        self.begun = False
        self.ahead_tokens = 0


_MOST_ENDED: Final = 10_000
# Seconds a lease is given before the edge's count can end it: it may not be counted yet. Where the engine has others,
# it may also be of a request that was moved to another engine, whose first byte will say so.
_RECONCILED_AFTER: Final = 5.0
_MOVED_AFTER: Final = 60.0


class Leases:
    """All leases, at most `capacity`, none older than `ttl_seconds`."""

    def __init__(self, capacity: int, ttl_seconds: float) -> None:
        self._capacity = capacity
        self._ttl = ttl_seconds
        self._by_id: OrderedDict[str, Lease] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        # What keeps its client there with comments, by engine and in the order it came: when its prompt must be done.
        self._computing: dict[Engine, dict[str, float]] = {}
        self.replaced = self.evicted = self.expired = self.reconciled = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def take(self, lease: Lease) -> None:
        """Count `lease`. One of the same id is given back first, and so is the oldest when the table is full."""
        name, now = lease.ask.id, lease.taken_at
        if name in self._by_id:
            self.release(name)
            self.replaced += 1
        elif len(self._by_id) >= self._capacity:
            self._drop(self._by_id.popitem(last=False)[1])
            self.evicted += 1
        self._by_id[name] = lease
        lease.holder.take(lease.uncached_tokens, now)
        lease.ahead_tokens = lease.holder.uncached_tokens
        lease.chosen.health.chosen(name, now)

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

    def counts(self) -> dict[str, int]:
        """What happened so far, by the names of the fleet's snapshot."""
        return {
            "leases_replaced": self.replaced,
            "leases_evicted": self.evicted,
            "leases_expired": self.expired,
            "leases_reconciled": self.reconciled,
        }

    def resize(self, capacity: int, ttl_seconds: float) -> None:
        """Other bounds from now on; what is over them is given back."""
        self._capacity = capacity
        self._ttl = ttl_seconds
        while len(self._by_id) > capacity:
            self._drop(self._by_id.popitem(last=False)[1])
            self.evicted += 1

    def begin(self, request_id: str, server: Engine | None, now: float, *, served: bool) -> Lease | None:
        """Give back the prefill load; the request counts at `server` from now on. None: unknown, or not the first.

        `served`: `server` has computed the prompt.
        """
        lease = self._by_id.get(request_id)
        if lease is None or lease.begun:
            return None
        lease.begun = True
        holder = lease.holder
        self._forget(lease)
        if served and server is holder:
            holder.prefilled(lease.uncached_tokens, now)
            return lease
        holder.spared(lease.uncached_tokens)
        if server is not None and server is not holder:
            holder.give_back()
            server.take(0, now)
            lease.holder = server
        return lease

    def computing(self, request_id: str, server: Engine, now: float) -> bool:
        """`server` keeps the client waiting with comments: the whole load of the request counts there, and goes on.

        False: unknown.
        """
        lease = self._by_id.get(request_id)
        if lease is not None and not lease.begun:
            since = lease.taken_at
            if server is not lease.holder:
                self._move(lease, server, now)
                since = now
            self._computing.setdefault(server, {})[request_id] = since + lease.ahead_tokens / server.rate.value
        return lease is not None

    def computed(self, now: float) -> list[Lease]:
        """Give back the prefill load of those whose prompts must be computed by now; returns their leases."""
        due = [name for those in self._computing.values() for name, until in those.items() if until <= now]
        return [self._computed(self._by_id[name]) for name in due]

    def computed_before(self, lease: Lease) -> list[Lease]:
        """The same for those that came to its engine before `lease`, whose answer begins: prompts wait in a line."""
        found: list[Lease] = []
        while those := self._computing.get(lease.holder):
            earliest = self._by_id[next(iter(those))]
            if earliest.taken_at >= lease.taken_at:
                break
            found.append(self._computed(earliest))
        return found

    def release(self, request_id: str) -> Lease | None:
        """Give back whatever the lease still holds. None: unknown, or given back before."""
        lease = self._by_id.pop(request_id, None)
        if lease is not None:
            self._drop(lease)
        return lease

    def expire(self, now: float) -> None:
        """Give back what nobody gave back in time."""
        while self._by_id:
            name, oldest = next(iter(self._by_id.items()))
            if oldest.taken_at + self._ttl > now:
                return
            self.release(name)
            self.expired += 1

    def reconcile(self, engine: Engine, sessions: int, now: float, since: float) -> None:
        """Give back what is held at `engine` for a while beyond the `sessions` of the edge's process. Walks over all.

        A lease that old whose request is not over has a session there, or was moved and has not begun for a minute. So
        those over the count are lost. Which they are nobody can say, and the load is the same: the oldest go.
        What was taken before `since` may be with a process before that one, which still finishes its streams: that is
        only given back when the engine itself has nothing to do.
        """
        oldest = float("-inf") if engine.idle else since
        youngest = now - (_MOVED_AFTER if sessions else _RECONCILED_AFTER)
        old = [
            name
            for name, lease in takewhile(lambda item: item[1].taken_at <= youngest, self._by_id.items())
            if lease.holder is engine and lease.taken_at >= oldest
        ]
        lost = old[: max(len(old) - sessions, 0)]
        for name in lost:
            self.release(name)
        self.reconciled += len(lost)

    def waiting(self, engine: Engine) -> tuple[int, int]:
        """How many requests wait for a first byte at `engine`, and the most tokens one needs. Walks over all."""
        tokens = [lease.uncached_tokens for lease in self._by_id.values() if lease.holder is engine and not lease.begun]
        return len(tokens), max(tokens, default=0)

    def _computed(self, lease: Lease) -> Lease:
        self._forget(lease)
        lease.begun = True
        lease.holder.spared(lease.uncached_tokens)
        return lease

    def _forget(self, lease: Lease) -> None:
        those = self._computing.get(lease.holder) if self._computing else None
        if those is not None and those.pop(lease.ask.id, None) is not None and not those:
            del self._computing[lease.holder]

    def _move(self, lease: Lease, server: Engine, now: float) -> None:
        self._forget(lease)
        lease.holder.spared(lease.uncached_tokens)
        lease.holder.give_back()
        server.take(lease.uncached_tokens, now)
        lease.holder = server
        lease.ahead_tokens = server.uncached_tokens

    def _drop(self, lease: Lease) -> None:
        self._forget(lease)
        if not lease.begun:
            lease.holder.spared(lease.uncached_tokens)
        lease.holder.give_back()
        health = lease.chosen.health
        if health.trial is not None:
            health.ended(lease.ask.id)
            lease.chosen.changed()
