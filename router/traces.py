"""Traces: what became of a request, remembered until it is over, then queued for whoever exports it.

Nothing here is loaded or done where no endpoint is set. Where one is, a question costs one entry in a table, and a
sampled request one in a queue; what does not fit is dropped and counted. Nothing waits.

Who samples is the edge, because the engine must hear of it with the request: it takes the client's word where the
client has begun a trace, and draws otherwise. Names of spans need no luck either: the edge's own name for a request has
128 bits, of which the last 64 name the edge's span and the first 64 the decision's.
"""

import time
from collections import OrderedDict, deque

import msgspec

from router.account import Event
from router.joined import Decided

_NANOSECONDS = 1_000
_wall_clock = time.time_ns  # a span tells when it was; nothing is decided by it
_HEX = frozenset("0123456789abcdef")
_PENDING = 100_000  # decisions whose request is not over


class Deciding(msgspec.Struct, frozen=True, gc=False):
    """When a question came, and how long its answer took: Unix nanoseconds, nanoseconds."""

    began: int
    took: int


class Traced(msgspec.Struct, frozen=True):
    """One request that is over and was sampled: all that its spans are made of."""

    event: Event
    engine: str
    deciding: Deciding | None
    decided: Decided | None

    @property
    def trace(self) -> int:
        """The trace's number."""
        return int(self.event.trace, 16)

    @property
    def parent(self) -> int:
        """The client's span; 0 where the client began no trace."""
        return int(_parent(self.event), 16)

    @property
    def edge_span(self) -> int:
        """The span that the engine was told as its parent."""
        return int(self.event.lease.replace("-", "")[16:], 16)

    @property
    def decision_span(self) -> int:
        """The router's own."""
        return int(self.event.lease.replace("-", "")[:16], 16)

    @property
    def ended(self) -> int:
        """When the request was over, Unix nanoseconds on the edge's clock."""
        return self.event.ended_us * _NANOSECONDS

    @property
    def began(self) -> int:
        """When the edge had its first byte."""
        return self.ended - max(self.event.total_ms, 0) * 1_000_000

    @property
    def first_byte(self) -> int | None:
        """When the answer began; None where there was none of an engine."""
        event = self.event
        if event.headers_ms < 0:
            return None
        return self.began + (max(event.queued_ms, 0) + max(event.connect_ms, 0) + event.headers_ms) * 1_000_000


class Traces:
    """The table of decisions under way and the queue of requests that are over. `capacity`: of the queue."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._deciding: OrderedDict[str, Deciding] = OrderedDict()
        self._over: deque[Traced] = deque()
        self.dropped = 0  # requests whose spans found no room

    def __len__(self) -> int:
        return len(self._over)

    def timed(self, lease: str, seconds: float) -> None:
        """Remember that a question about a request has been answered just now, which took so many seconds."""
        took = round(seconds * 1e9)
        self.decided(lease, _wall_clock() - took, took)

    def decided(self, lease: str, began: int, took: int) -> None:
        """Remember when the question about a request came (Unix ns) and how long its answer took (ns)."""
        if len(self._deciding) >= _PENDING:
            self._deciding.popitem(last=False)
        self._deciding[lease] = Deciding(began, took)

    def completed(self, event: Event, engine: str, decided: Decided | None) -> None:
        """Queue a request that is over, if it was sampled; forget it in any case."""
        deciding = self._deciding.pop(event.lease, None)
        if event.sampled != "1" or not _whole(event):
            return
        if len(self._over) >= self._capacity:
            self.dropped += 1
            return
        self._over.append(Traced(event, engine, deciding, decided))

    def take(self, most: int) -> list[Traced]:
        """Take the oldest out of the queue, at most so many. May be called from another thread."""
        found: list[Traced] = []
        while len(found) < most:
            try:
                found.append(self._over.popleft())
            except IndexError:
                break
        return found


def _whole(event: Event) -> bool:
    """Whether a line has the names that spans need, as the edge writes them."""
    names = (event.trace, 32), (event.lease.replace("-", ""), 32), (_parent(event), 16)
    return event.ended_us > 0 and all(len(name) == digits and _is_hex(name) for name, digits in names)


def _parent(event: Event) -> str:
    """The client's span in hex, zeros where there is none: the edge writes `-` for nothing."""
    return event.parent if event.parent not in {"", "-"} else "0" * 16


def _is_hex(text: str) -> bool:
    return _HEX.issuperset(text)
