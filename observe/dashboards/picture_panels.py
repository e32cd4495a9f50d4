"""One panel of a picture: lines, figures, bars, states or a list, with its thresholds."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from observe.dashboards.model import UNITS, Panel
from observe.dashboards.reads import needs

Points = list[tuple[float, float]]
_COLOURS = {"green": "#3f9142", "orange": "#e08a1e", "red": "#cc3333"}
_MOST_NAMED = 8
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Canvas:
    """A place on a figure: left, bottom, width, height as shares of it."""

    figure: Figure
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Answered:
    """A panel with what its queries gave, by legend, between two unix times."""

    panel: Panel
    lines: list[tuple[str, Points]]
    start: float
    end: float


def draw(canvas: Canvas, answered: Answered) -> None:
    """Draw one panel."""
    axes = canvas.figure.add_axes(canvas.box)
    axes.set_title(answered.panel.title, loc="left", fontsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=6.5)
    if not answered.lines:
        _empty(axes, answered.panel)
        return
    {"line": _line, "stat": _stat, "bars": _bars, "states": _states, "table": _table}[answered.panel.kind](
        axes, answered
    )


def figure_of(value: float, unit: str) -> str:
    """A value as a person reads it: 93 %, 1.2 k tokens/s, 34 ms."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bool_yes_no":
        return "yes" if value else "no"
    if unit == "s":
        return _time(value)
    for least, prefix in _PREFIXES:
        if abs(value) >= least:
            return f"{value / least:.3g} {prefix}{UNITS[unit]}".strip()
    return f"{value:.3g} {UNITS[unit]}".strip()


def _time(value: float) -> str:
    if abs(value) >= 2 * 86400:
        return f"{value / 86400:.0f} d"
    if abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g} s"


def _empty(axes: Axes, panel: Panel) -> None:
    missing = needs(panel) or ", ".join(dict.fromkeys(query.needs for query in panel.queries if query.needs))
    axes.set_axis_off()
    said = f"needs {missing}" if missing else "no data"
    axes.text(0.5, 0.5, said, ha="center", va="center", fontsize=8, color="#888888", transform=axes.transAxes)


def _line(axes: Axes, answered: Answered) -> None:
    panel = answered.panel
    for at, (name, points) in enumerate(answered.lines):
        shown = name if at < _MOST_NAMED else "_"
        minutes = [(when - answered.end) / 60 for when, _ in points]
        axes.plot(minutes, [value for _, value in points], lw=1.1, label=shown, color=f"C{at % 10}")
    values = [value for _, points in answered.lines for _, value in points]
    axes.set_ylim(min(0.0, *values), panel.top or max(values) * 1.25 or 1.0)
    axes.set_xlim((answered.start - answered.end) / 60, 0)
    highest = axes.get_ylim()[1]
    for value, colour in panel.steps[1:]:
        if value is not None and value <= highest:
            axes.axhline(value, color=_COLOURS[colour], lw=0.8, ls="--")
    axes.yaxis.set_major_formatter(lambda value, _: figure_of(value, panel.unit))
    _minutes(axes)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=5.8, loc="upper left", ncols=2, borderaxespad=0.1, framealpha=0.6, edgecolor="none")


def _stat(axes: Axes, answered: Answered) -> None:
    axes.set_axis_off()
    panel, many = answered.panel, len(answered.lines)
    for at, (name, points) in enumerate(answered.lines[:4]):
        across, value = (at + 0.5) / min(many, 4), points[-1][1]
        colour = _COLOURS[_step(panel, value)]
        text = figure_of(value, panel.unit)
        axes.text(across, 0.55, text, ha="center", va="center", fontsize=19, color=colour, transform=axes.transAxes)
        axes.text(across, 0.15, name, ha="center", va="center", fontsize=7, color="#555555", transform=axes.transAxes)


def _bars(axes: Axes, answered: Answered) -> None:
    panel = answered.panel
    shown = sorted(((name, points[-1][1]) for name, points in answered.lines), key=lambda each: each[1])[-10:]
    axes.barh(range(len(shown)), [value for _, value in shown], color=[_COLOURS[_step(panel, v)] for _, v in shown])
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(lambda value, _: figure_of(value, panel.unit))
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
    for at, (name, value) in enumerate(shown):
        axes.annotate(
            f"{name}: {figure_of(value, panel.unit)}",
            (0, at),
            (4, 0),
            textcoords="offset points",
            fontsize=6.5,
            va="center",
        )


def _states(axes: Axes, answered: Answered) -> None:
    panel = answered.panel
    for at, (_, points) in enumerate(answered.lines):
        width = max((answered.end - answered.start) / 60 / max(len(points), 1), 0.01)
        spans = [((when - answered.end) / 60 - width, width) for when, _ in points]
        axes.broken_barh(spans, (at + 0.1, 0.8), facecolors=[_COLOURS[_step(panel, value)] for _, value in points])
    axes.set_yticks([at + 0.5 for at in range(len(answered.lines))], [name for name, _ in answered.lines], fontsize=5.5)
    axes.tick_params(axis="y", pad=-2, length=0)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")
        label.set_color("white")
        label.set_zorder(5)
    axes.set_xlim((answered.start - answered.end) / 60, 0)
    _minutes(axes)


def _minutes(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} min" if value else "now")


def _table(axes: Axes, answered: Answered) -> None:
    axes.set_axis_off()
    for at, (name, _) in enumerate(answered.lines[:7]):
        axes.text(0.02, 0.92 - at * 0.14, name, fontsize=7.5, va="top", transform=axes.transAxes)


def _step(panel: Panel, value: float) -> str:
    """The colour of the highest threshold that a value reaches."""
    found = panel.steps[0][1]
    for bound, colour in panel.steps[1:]:
        if bound is not None and value >= bound:
            found = colour
    return found
