"""The arithmetic of repeated measurements: medians, ranges, percentiles, ratios."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_THREE_DIGITS = ((100.0, 0), (10.0, 1), (1.0, 2))


@dataclass(frozen=True, slots=True)
class Spread:
    """What repeats of one measurement gave: the median, the lowest, the highest, and how many there were."""

    median: float
    low: float
    high: float
    repeats: int

    def text(self) -> str:
        """`median (low to high)` in three digits; a single or an unvarying measurement without its range."""
        if self.low == self.high:
            return digits(self.median)
        return f"{digits(self.median)} ({digits(self.low)} to {digits(self.high)})"


def spread(values: Iterable[float]) -> Spread:
    """Median and range. Raises ValueError when there is nothing."""
    found = sorted(values)
    if not found:
        raise ValueError("no values: at least one measurement is needed")
    return Spread(statistics.median(found), found[0], found[-1], len(found))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a `share` (0 to 1) of `values` does not exceed: nearest rank; 0 for no values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = max(-(-share * len(ordered) // 1), 1)
    return ordered[min(int(rank), len(ordered)) - 1]


def ratio(value: float, base: float) -> float:
    """`value` ÷ `base`; 0 where there is no base."""
    return value / base if base else 0.0


def digits(value: float) -> str:
    """A figure in three digits, as a person reads it: 1,234 123 12.3 1.23 0.12."""
    for least, decimals in _THREE_DIGITS:
        if abs(value) >= least:
            return f"{value:,.{decimals}f}"
    return f"{value:.3f}" if value else "0"
