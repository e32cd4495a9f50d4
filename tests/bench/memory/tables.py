"""Samples → the table and the plot of a report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.figures import Spread, spread
from tests.bench.report import Lines, Report, Table

_WARM = 0.3
_FLAT = 0.1
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident octets of the router after so many sessions."""

    sessions: int
    rss: int


def report(samples: Sequence[Sample], ends: Counter[str], left: int, settings: Mapping[str, Any], raw: Any) -> Report:
    """Everything, for readers."""
    warm, late = after_warm_up(samples), after_warm_up(samples, 0.5)
    off = furthest(warm)
    rows = [
        ["RSS at the start", f"{samples[0].rss / _MEGABYTE:.0f} MB", "", ""],
        ["RSS after warm-up, median (range)", f"{warm.text()} MB", "", ""],
        ["furthest from the median", f"{off:.1%}", f"± {_FLAT:.0%}", _verdict(off <= _FLAT)],
        ["the same over the second half", f"{furthest(late):.1%}", "", ""],
        ["RSS at the end, idle", f"{samples[-1].rss / _MEGABYTE:.0f} MB", "", ""],
        ["requests still counted when idle", str(left), "0", _verdict(left == 0)],
        *([f"sessions {how}", f"{count:,}", "", ""] for how, count in sorted(ends.items())),
    ]
    note = f"Warm-up: the first {_WARM:.0%} of the sessions, while tables of bounded size fill."
    table = Table("The router's memory over unique sessions", ["what", "seen", "target", ""], rows, note)
    points = [(one.sessions / 1000, one.rss / _MEGABYTE) for one in samples]
    plot = Lines("memory", "The router's resident memory", "thousand unique sessions", "MB", {"router": points})
    return Report("memory", settings, raw, [table], [plot])


def after_warm_up(samples: Sequence[Sample], share: float = _WARM) -> Spread:
    """Megabytes after this share of the sessions, when bounded tables are full."""
    last = samples[-1].sessions
    return spread(one.rss / _MEGABYTE for one in samples if one.sessions >= share * last)


def furthest(warm: Spread) -> float:
    """How far the range reaches from its median, as a share of it."""
    return max(warm.high - warm.median, warm.median - warm.low) / warm.median


def _verdict(reached: bool) -> str:
    return "reached" if reached else "**not reached**"
