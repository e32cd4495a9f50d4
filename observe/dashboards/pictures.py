"""Dashboards as pictures, drawn by ourselves from the answers to the panels' own queries.

They show the data that Grafana would show, not how Grafana looks. One PNG for each dashboard.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from observe.dashboards.ask import Line, instant, over_time
from observe.dashboards.boards import BOARDS
from observe.dashboards.model import Board, Panel, Query
from observe.dashboards.picture_panels import Answered, Canvas, draw
from observe.dashboards.reads import expanded

_POINTS = 120
_WIDTH_INCHES = 15.0
_INCHES_HIGH = 0.36  # for each of Grafana's units of height
_DOTS = 72
_ROW_UNITS, _GAP_UNITS = 1.4, 0.0


@dataclass(frozen=True, slots=True)
class _Placed:
    """A panel or a row's heading, and where it is: columns of 24, units from the top."""

    panel: Panel | str
    left: int
    top: float
    height: float


def draw_all(url: str, seconds: float, folder: Path, boards: Iterable[Board] = BOARDS) -> Iterator[Path]:
    """Draw dashboards from the last `seconds` of a Prometheus; yields the files. Raises ask.Unanswered."""
    folder.mkdir(parents=True, exist_ok=True)
    end = instant(url, "vector(time())")[0].points[0][1]
    for board in boards:
        path = folder / f"dashboard-{board.uid.removeprefix('ironrack-')}.png"
        _figure(board, url, end - seconds, end).savefig(path, dpi=_DOTS, metadata={"Software": None})
        yield path


def _figure(board: Board, url: str, start: float, end: float) -> Figure:
    placed = list(_placed(board))
    high = max(each.top + each.height for each in placed) + 1
    figure = Figure(figsize=(_WIDTH_INCHES, high * _INCHES_HIGH))
    figure.text(0.01, 1 - 0.6 / high, board.title, fontsize=15, weight="bold", va="center")
    for each in placed:
        top = 1 - (each.top + 1) / high
        if isinstance(each.panel, str):
            figure.text(0.01, top - 0.6 / high, each.panel, fontsize=11, weight="bold", color="#555555", va="center")
            continue
        # Room on the left for the axis' figures, above for the title, below for the time.
        left, width = 0.055 + each.left / 24 * 0.945, each.panel.width / 24 * 0.945 - 0.065
        box = (left, top - (each.height - 1.0) / high, width, (each.height - 2.3) / high)
        draw(Canvas(figure, box), _answered(url, each.panel, start, end))
    return figure


def _placed(board: Board) -> Iterator[_Placed]:
    """Rows of panels, left to right, as wide and high as in Grafana."""
    top = 0.2
    for row in board.with_features(()).rows:
        yield _Placed(row.title, 0, top, _ROW_UNITS)
        top += _ROW_UNITS
        left, tallest = 0, 0
        for panel in row.panels:
            if left + panel.width > 24:
                left, top, tallest = 0, top + tallest + _GAP_UNITS, 0
            yield _Placed(panel, left, top, panel.height)
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest + _GAP_UNITS


def _answered(url: str, panel: Panel, start: float, end: float) -> Answered:
    found = []
    for query in panel.queries:
        expr = expanded(query.expr)
        if panel.kind in {"line", "states"}:
            lines = over_time(url, expr, start, end, max((end - start) / _POINTS, 1.0))
        else:
            lines = instant(url, expr)
        found += [(_called(query, line), line.points) for line in lines]
    return Answered(panel, sorted(found, key=lambda each: each[0]), start, end)


def _called(query: Query, line: Line) -> str:
    if not query.legend:
        shown = {name: value for name, value in line.labels.items() if name in {"alertname", "engine", "reason"}}
        return ", ".join(shown.values()) or "value"
    return re.sub(r"\{\{(\w+)\}\}", lambda name: line.labels.get(name[1], ""), query.legend).strip() or "value"
