"""What was decided about requests still in flight, kept until their access line comes. Bounded."""

from collections import OrderedDict
from dataclasses import dataclass

from mypy_extensions import mypyc_attr


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class Decided:
    """The part of a decision that the edge does not know: tokens (estimated), the price in seconds, and whose it is."""

    prompt_tokens: int
    uncached_tokens: int
    cost_seconds: float
    tenant: str
    stream: bool

    def __init__(
        self,
        prompt_tokens: int,
        uncached_tokens: int,
        cost_seconds: float,
        tenant: str = "-",
        stream: bool = False,
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.uncached_tokens = uncached_tokens
        self.cost_seconds = cost_seconds
        self.tenant = tenant
        self.stream = stream


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class Spent:
    """Tokens that one request took, prompt and answer."""

    prompt: int
    completion: int

    def __init__(self, prompt: int, completion: int) -> None:
        self.prompt = prompt
        self.completion = completion


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
