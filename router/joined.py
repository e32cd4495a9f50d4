"""What was decided about requests still in flight, kept until their access line comes. Bounded."""

from collections import OrderedDict

import msgspec


class Decided(msgspec.Struct, frozen=True, gc=False):
    """The part of a decision that the edge does not know: tokens (estimated), the price in seconds, and whose it is."""

    prompt_tokens: int
    uncached_tokens: int
    cost_seconds: float
    tenant: str = "-"
    stream: bool = False


class Spent(msgspec.Struct, frozen=True, gc=False):
    """Tokens that one request took, prompt and answer."""

    prompt: int
    completion: int


class Recent:
    """The latest decisions by request id, at most `capacity`; the oldest make room. Capacity 0 keeps none."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._by_id: OrderedDict[str, Decided] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, request_id: str, decided: Decided) -> None:
        """Remember one decision."""
        if not self._capacity:
            return
        if len(self._by_id) >= self._capacity:
            self._by_id.popitem(last=False)
        self._by_id[request_id] = decided

    def take(self, request_id: str) -> Decided | None:
        """Return what was decided and forget it; None when it is not known (any more)."""
        return self._by_id.pop(request_id, None)
