"""How much happened lately: a sliding count in constant memory. Pure."""

from typing import Final

_SLOTS: Final = 10


class Window:
    """A sum over the last `seconds`, kept in ten slots: the oldest tenth goes at once. O(1) an event."""

    __slots__ = ("_at", "_per_second", "_slots", "_total", "seconds")

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self._per_second = _SLOTS / seconds
        self._slots = [0] * _SLOTS
        self._at = 0
        self._total = 0

    def add(self, now: float, amount: int = 1) -> None:
        """Count `amount` at the monotonic time `now`."""
        self._move(now)
        self._slots[self._at % _SLOTS] += amount
        self._total += amount

    def total(self, now: float) -> int:
        """Return what was counted in the last `seconds`."""
        self._move(now)
        return self._total

    def _move(self, now: float) -> None:
        slot = int(now * self._per_second)
        if slot <= self._at:
            return
        for passed in range(max(self._at + 1, slot - _SLOTS + 1), slot + 1):
            self._total -= self._slots[passed % _SLOTS]
            self._slots[passed % _SLOTS] = 0
        self._at = slot
