"""How many uncached prompt tokens an engine computes in a second, learnt from its first bytes. Pure.

An engine computes prompts one after the other, so a stretch of time in which it always had one to compute tells its
rate: the tokens of all prompts whose first byte came in that stretch, over its length. A stretch begins when work
comes to an engine that had none, or where the last one ended; it ends when nothing is left to compute, or after a
few first bytes. Counting whole stretches, and not each request by itself, keeps the prompt that is half computed when
another one arrives from being counted twice. Decoding in between, small prompts and the way to the edge all make a
stretch look slow, nothing makes it look fast for long: the rate is the 90th percentile of the last stretches. What
was measured with a known prompt bounds it: nothing seen here moves the rate by more than a factor of 2. Until then the
rate is somebody's guess, and what is seen may move it by a factor of 16.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

_FEWEST_TOKENS: Final = 256  # below, the way to the edge is longer than the computing
_MOST_FIRST_BYTES: Final = 16  # in a stretch: prompts of one batch answer at once, which blurs the ends of a short one
_KEPT: Final = 64
_FEWEST: Final = 8
_PERCENTILE: Final = 0.9
_MEASURED: Final = 2.0  # how far what is seen may move a rate
_GUESSED: Final = 16.0
_ALIKE: Final = 1.2  # engines of one kind, measured with one prompt each, differ by a tenth now and then


class PrefillRate:
    """One engine's rate: `value` in tokens per second, never further than a factor of 2 from a measured `calibrated`.

    A configured one is a guess until a prompt was measured: then 16.
    """

    __slots__ = ("_first_bytes", "_fresh", "_most", "_samples", "_since", "_tokens", "calibrated", "value")

    def __init__(self, configured: float) -> None:
        self._samples: deque[float] = deque(maxlen=_KEPT)
        self._fresh = False
        self._since: float | None = None
        self._tokens = self._first_bytes = 0
        self._most = _GUESSED
        self.calibrated = self.value = configured

    def calibrate(self, tokens_per_second: float) -> None:
        """Take over what a known prompt took; a rate that is no positive number is ignored."""
        self._take(tokens_per_second, _MEASURED)

    def configure(self, tokens_per_second: float) -> None:
        """Take over another guess; a rate that is no positive number is ignored."""
        self._take(tokens_per_second, _GUESSED)

    def works(self, now: float) -> None:
        """The engine had nothing to compute, and has now."""
        self._since = now
        self._tokens = self._first_bytes = 0

    def done(self, tokens: int, now: float, *, idle: bool) -> None:
        """A first byte came, `tokens` were computed for it; `idle`: nothing is left to compute."""
        if self._since is None:
            if not idle:
                self.works(now)
            return
        self._tokens += tokens
        self._first_bytes += 1
        if idle or self._first_bytes >= _MOST_FIRST_BYTES:
            seconds = now - self._since
            if self._tokens >= _FEWEST_TOKENS and seconds > 0:
                self._samples.append(self._tokens / seconds)
                self._fresh = True
            self.void()
            if not idle:
                self.works(now)

    def void(self) -> None:
        """Something else happened there (an abort, another decider's work): this stretch says nothing."""
        self._since = None

    def refresh(self) -> bool:
        """Take over what was seen since the last call; return whether `value` changed."""
        if not self._fresh:
            return False
        self._fresh = False
        before, self.value = self.value, self._estimate()
        return self.value != before

    def _take(self, tokens_per_second: float, most: float) -> None:
        if tokens_per_second > 0 and math.isfinite(tokens_per_second):
            self.calibrated, self._most = tokens_per_second, most
            self.value = self._estimate()

    def _estimate(self) -> float:
        if len(self._samples) < _FEWEST:
            return self.calibrated
        seen = sorted(self._samples)[math.ceil(_PERCENTILE * len(self._samples)) - 1]
        return min(max(seen, self.calibrated / self._most), self.calibrated * self._most)


def alike(rates: Sequence[float]) -> list[float]:
    """Return `rates` with the mean in place of all that lie within a fifth above the lowest of them."""
    found, order, begin = list(rates), sorted(range(len(rates)), key=rates.__getitem__), 0
    for at in range(1, len(order) + 1):
        if at == len(order) or rates[order[at]] > rates[order[begin]] * _ALIKE:
            members = order[begin:at]
            mean = sum([rates[member] for member in members]) / len(members)
            for member in members:
                found[member] = mean
            begin = at
    return found
