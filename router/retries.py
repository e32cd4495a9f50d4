"""The retry budget: when engines fail in numbers, retries multiply the load that makes them fail. Pure."""

from typing import Final

from router.window import Window

_ALWAYS: Final = 10  # retries in a window: a single engine's death never spends the budget of a quiet stack


class RetryBudget:
    """Whether requests may still be tried again: until retries exceed max(10, `ratio` x requests) of ten seconds."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self.refused = 0  # decisions that went out without retries, and tries that were not made
        self._requests = Window()
        self._retries = Window()

    def completed(self, retries: int, now: float) -> None:
        """One request is over, after `retries` tries beyond the first."""
        self._requests.add(now)
        if retries > 0:
            self._retries.add(now, retries)

    def granted(self, now: float) -> bool:
        """Return whether a request decided now may be tried again; one that may not is counted."""
        if not self.spent(now):
            return True
        self.refused += 1
        return False

    def take(self, now: float) -> bool:
        """Return whether one more try may be made now; it counts at once, its request when it is over."""
        if not self.granted(now):
            return False
        self._retries.add(now)
        return True

    def spent(self, now: float) -> bool:
        """Return whether the budget is used up."""
        return self._retries.total(now) > max(_ALWAYS, self.ratio * self._requests.total(now))
