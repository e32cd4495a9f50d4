"""What became of a run's requests, in figures."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.figures import percentile, ratio
from tests.bench.quality.oracle import hit_ratios
from tests.bench.quality.world import Request

_WINDOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Quality:
    """One run. Ratios of tokens; `ttft`: seconds to the first token at p50, p90, p99; `imbalance`: max ÷ mean.

    `spills`: share of a session's later turns that left its home because it was too busy.
    """

    requests: int
    hit: float
    of_oracle: float
    of_own: float
    ttft: tuple[float, float, float]
    imbalance: float
    spills: float


def measure(requests: Sequence[Request], block_tokens: int, engines: int, why: Counter[str]) -> Quality:
    """Figures of a whole run, its cold start included."""
    anybody, own = hit_ratios(requests, block_tokens)
    hit = ratio(sum(one.cached for one in requests), sum(one.prompt_tokens for one in requests))
    waited = [one.first_token - one.arrived for one in requests]
    later = len(requests) - len({one.session.name for one in requests})
    return Quality(
        requests=len(requests),
        hit=hit,
        of_oracle=ratio(hit, anybody),
        of_own=ratio(hit, own),
        ttft=(percentile(waited, 0.5), percentile(waited, 0.9), percentile(waited, 0.99)),
        imbalance=imbalance(requests, engines),
        spills=ratio(why["spill"], later),
    )


def imbalance(requests: Sequence[Request], engines: int) -> float:
    """Max ÷ mean of the tokens that engines had to compute, the median of windows of ten seconds."""
    windows: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for one in requests:
        windows[int(one.arrived / _WINDOW_SECONDS)][one.engine] += one.prompt_tokens - one.cached
    found = [
        max(tokens.values()) * engines / sum(tokens.values()) for tokens in windows.values() if sum(tokens.values())
    ]
    return percentile(found, 0.5)


def moved(requests: Sequence[Request], when: float, within: float) -> float:
    """Share of the sessions with a turn before and one within so many seconds after a moment that changed engines."""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for one in requests:
        if one.arrived < when:
            before[one.session.name] = one.engine
        elif one.arrived < when + within:
            after.setdefault(one.session.name, one.engine)
    both = [name for name in after if name in before]
    return ratio(sum(after[name] != before[name] for name in both), len(both))
