"""Many series → Prometheus' text format, fast enough to be written between two decisions.

The client library takes some 20 µs a series: a tenth of a second for 200 engines, in which no question would be
answered. Here a series takes one or two, and a family is written at a time.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from router.tally import Histogram

PREFIX = "ironrack_router"

Row = tuple[str, float]  # label set as `labels` writes it, and the value


class Family(NamedTuple):
    """One metric: `kind` is `counter`, `gauge` or `histogram`; `rows` its samples, the suffix of the name before each.

    A label set may come once.
    """

    name: str
    kind: str
    text: str
    rows: list[tuple[str, str, float]]


def labels(**values: str) -> str:
    """Return a label set without its braces; `class_` stands for `class`."""
    return ",".join(f'{name.rstrip("_")}="{_escaped(value)}"' for name, value in values.items())


def counters(name: str, text: str, rows: Iterable[Row]) -> Family:
    """Return a counter; `_total` is put behind its name."""
    return Family(name, "counter", text, [("_total", which, value) for which, value in rows])


def gauges(name: str, text: str, rows: Iterable[Row]) -> Family:
    """Return a gauge."""
    return Family(name, "gauge", text, [("", which, value) for which, value in rows])


def counter(name: str, text: str, value: float) -> Family:
    """Return a counter without labels."""
    return Family(name, "counter", text, [("_total", "", value)])


def gauge(name: str, text: str, value: float) -> Family:
    """Return a gauge without labels."""
    return Family(name, "gauge", text, [("", "", value)])


def histograms(name: str, text: str, found: Mapping[str, Histogram]) -> Family:
    """Return a histogram with cumulative buckets, a sum and a count for each label set."""
    rows: list[tuple[str, str, float]] = []
    for which, histogram in found.items():
        comma = "," if which else ""
        counts = list(accumulate(histogram.counts))
        bounds = [*map(str, histogram.bounds), "+Inf"]
        rows += [("_bucket", f'{which}{comma}le="{bound}"', count) for bound, count in zip(bounds, counts, strict=True)]
        rows += [("_sum", which, histogram.total), ("_count", which, counts[-1])]
    return Family(name, "histogram", text, rows)


def written(family: Family) -> bytes:
    """Return one family as text."""
    name = f"{PREFIX}_{family.name}"
    shown = f"{name}_total" if family.kind == "counter" else name
    lines = [f"# HELP {shown} {family.text}\n# TYPE {shown} {family.kind}\n"]
    lines += [
        f"{name}{suffix}{{{which}}} {value + 0}\n" if which else f"{name}{suffix} {value + 0}\n"  # + 0: no True
        for suffix, which, value in family.rows
    ]
    return "".join(lines).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
