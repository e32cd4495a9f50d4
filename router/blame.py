"""Whose fault is a 5xx answer: the engine's, or the request's?

A request that makes one engine answer 5xx makes the others do so too, and its client will send it again. A session
that two engines failed is therefore no witness against a third; it is one again when an engine has served it. So one
client can cost the fleet one engine for one back-off, not all of them, and a lone client still gets away from an
engine that fails whatever it is given.
"""

from collections import OrderedDict
from typing import Final

_CAPACITY: Final = 10_000
_SEVERAL: Final = ""


class Blame:
    """Sessions whose latest answers were 5xx, and the engine that gave them. At most `capacity`, oldest out first."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._failed_by: OrderedDict[int, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failed_by)

    def failed(self, key: int, engine: str) -> bool:
        """`engine` answered the session 5xx: return whether that speaks against the engine."""
        alone = self._failed_by.get(key, engine) == engine
        self._failed_by[key] = engine if alone else _SEVERAL
        self._failed_by.move_to_end(key)
        if len(self._failed_by) > self._capacity:
            self._failed_by.popitem(last=False)
        return alone

    def worked(self, key: int) -> None:
        """An engine served the session."""
        self._failed_by.pop(key, None)
