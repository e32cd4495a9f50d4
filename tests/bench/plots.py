"""Plots as SVG files, drawn without a display."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.report import Bars, Lines

# Text stays text, and a picture of the same figures is the same file.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ironrack", "font.size": 9})
_WIDTH, _HEIGHT = 8.0, 3.6


def draw(plot: Bars | Lines, folder: Path) -> Path:
    """Draw one plot; returns its file."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set_title(plot.title, loc="left")
    if isinstance(plot, Bars):
        _bars(axes, plot)
    else:
        _lines(axes, plot)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{plot.name}.svg"
    figure.savefig(path, metadata={"Date": None})
    return path


def _bars(axes: Axes, plot: Bars) -> None:
    names = list(dict.fromkeys(name for group in plot.groups.values() for name in group))
    width = 0.8 / max(len(names), 1)
    for place, name in enumerate(names):
        at = [number for number, group in enumerate(plot.groups.values()) if name in group]
        found = [group[name] for group in plot.groups.values() if name in group]
        ends = [[one.median - one.low for one in found], [one.high - one.median for one in found]]
        across = [number - 0.4 + width * (place + 0.5) for number in at]
        axes.bar(across, [one.median for one in found], width * 0.95, yerr=ends, label=name, error_kw={"lw": 0.8})
    axes.set_xticks(range(len(plot.groups)), list(plot.groups))
    axes.set_ylabel(f"{plot.unit} ({'higher' if plot.higher else 'lower'} is better)")
    if plot.logarithmic:
        axes.set_yscale("log")


def _lines(axes: Axes, plot: Lines) -> None:
    for name, points in plot.series.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=name, lw=1.2)
    axes.set_xlabel(plot.across)
    axes.set_ylabel(plot.unit)
    axes.set_ylim(bottom=0)
