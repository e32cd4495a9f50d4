"""What a dashboard is made of: plain values, so that tests, pictures and links read them without Grafana."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["line", "stat", "bars", "states", "table"]

# Grafana's names of units; the right side is what a picture writes at its axis.
UNITS = {
    "short": "",
    "percentunit": "%",
    "s": "s",
    "reqps": "requests/s",
    "ops": "1/s",
    "bytes": "bytes",
    "binBps": "bytes/s",
    "celsius": "°C",
    "watt": "W",
    "hertz": "Hz",
    "suffix: tokens": "tokens",
    "suffix: tokens/s": "tokens/s",
    "suffix: cores": "cores",
    "suffix:x": "x",
    "bool_yes_no": "",
}

# What a share of requests needs, beyond a stack that serves.
LOAD = "requests within the last minutes"

Step = tuple[float | None, str]
PLAIN: tuple[Step, ...] = ((None, "green"),)


def over(warn: float, bad: float) -> tuple[Step, ...]:
    """Thresholds of a value that is bad when it is high."""
    return ((None, "green"), (warn, "orange"), (bad, "red"))


def under(warn: float, bad: float) -> tuple[Step, ...]:
    """Thresholds of a value that is bad when it is low: red below `bad`, orange below `warn`."""
    return ((None, "red"), (bad, "orange"), (warn, "green"))


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and how its lines are called.

    `needs`: what must have happened before there is something to show, beyond what its series need anyway.
    """

    expr: str
    legend: str = ""
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `id` never changes once it is published: alerts and bookmarks name it.

    `unit` is a key of UNITS, `steps` are thresholds in that unit, `alerts` those that this panel explains;
    `width` is in 24ths.
    """

    id: int
    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: Kind = "line"
    steps: Sequence[Step] = PLAIN
    stacked: bool = False
    alerts: Sequence[str] = ()
    width: int = 8
    height: int = 7
    top: float | None = None
    decimals: int | None = None
    texts: Sequence[tuple[str, str]] = ()


def ask(expr: str, legend: str = "", needs: str = "") -> Query:
    """A query."""
    return Query(expr, legend, needs)


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading. `feature`: the row is there only where the stack has that feature switched on."""

    title: str
    panels: Sequence[Panel]
    feature: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard: the values that `label` has in `series`."""

    name: str
    title: str
    series: str


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. `uid` is part of its address."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = field(default=())

    @property
    def panels(self) -> Iterator[Panel]:
        """Every panel, of rows that need a feature, too."""
        return (panel for row in self.rows for panel in row.panels)

    def with_features(self, on: Sequence[str]) -> Board:
        """The same dashboard without the rows of features that are off."""
        rows = [row for row in self.rows if not row.feature or row.feature in on]
        return Board(self.uid, self.title, self.description, rows, self.variables)
