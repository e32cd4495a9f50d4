"""One measurement: what the client handed back → the figures that are kept."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.engines.answers import Turn
from tests.bench.engines.counters import Counters, hit_ratio, imbalance
from tests.bench.engines.traffic import Traffic
from tests.bench.errors import BenchError
from tests.bench.figures import percentile

_REASONS = 5


@dataclass(frozen=True, slots=True)
class Measurement:
    """One workload on one subject, once.

    First tokens and gaps are those of turns begun in the window; `per_second` counts turns that ended in it; `failed`
    counts all, of the warm-up, too. `reasons`: how often each was met, the first ones.
    """

    subject: str
    workload: str
    repeat: int
    turns: int
    per_second: float
    first_p50: float
    first_p90: float
    first_p99: float
    gap_p50: float
    gap_p99: float
    hit: float
    imbalance: float
    failed: int
    reasons: Mapping[str, int]
    first_milliseconds: Sequence[float]
    engines: Sequence[Mapping[str, float]]


def measured(subject: str, traffic: Traffic, repeat: int, found: Mapping[str, Any]) -> Measurement:
    """The figures of one run. Raises BenchError when not one answer came."""
    turns = [Turn(**one) for one in found["turns"]]
    engines = [Counters(**one) for one in found["engines"]]
    wrong = [turn.wrong for turn in turns if turn.wrong]
    whole = [turn for turn in turns if not turn.wrong]
    begun = [turn for turn in whole if traffic.warm <= turn.begun < traffic.ends]
    if not begun:
        said = wrong[0] if wrong else "nothing was asked"
        raise BenchError(f"{subject}: {traffic.workload}: no answer within the window: {said}: give more --seconds")
    firsts = [1e3 * (turn.first - turn.begun) for turn in begun]
    gaps = [1e3 * gap for turn in begun for gap in turn.gaps]
    ended = sum(traffic.warm <= turn.ended < traffic.ends for turn in whole)
    return Measurement(
        subject=subject,
        workload=traffic.workload,
        repeat=repeat,
        turns=len(begun),
        per_second=ended / traffic.seconds,
        first_p50=percentile(firsts, 0.5),
        first_p90=percentile(firsts, 0.9),
        first_p99=percentile(firsts, 0.99),
        gap_p50=percentile(gaps, 0.5),
        gap_p99=percentile(gaps, 0.99),
        hit=hit_ratio(engines),
        imbalance=imbalance(engines),
        failed=len(wrong),
        reasons=dict(list(Counter(wrong).items())[:_REASONS]),
        first_milliseconds=[round(first, 2) for first in firsts],
        engines=found["engines"],
    )
