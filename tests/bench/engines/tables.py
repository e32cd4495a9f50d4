"""Measurements → the tables and the plot of a report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.bench.engines.measured import Measurement
from tests.bench.engines.traffic import WORKLOADS
from tests.bench.figures import Spread, ratio, spread
from tests.bench.report import Bars, Report, Table

OURS = "ironrack"
_SAID = 200  # characters of a reason
_Figure = Callable[[Measurement], float]
_COLUMNS: Mapping[str, _Figure] = {
    "turns/s": lambda one: one.per_second,
    "TTFT p50 (ms)": lambda one: one.first_p50,
    "TTFT p90 (ms)": lambda one: one.first_p90,
    "TTFT p99 (ms)": lambda one: one.first_p99,
    "ITL p50 (ms)": lambda one: one.gap_p50,
    "ITL p99 (ms)": lambda one: one.gap_p99,
    "hit": lambda one: one.hit,
    "imbalance": lambda one: one.imbalance,
}
# By column: whether more is better.
_COMPARED = {"TTFT p50 (ms)": False, "TTFT p99 (ms)": False, "turns/s": True}


def report(
    found: Sequence[Measurement],
    subjects: Sequence[str],
    settings: Mapping[str, Any],
    raw: Any,
    missed: Sequence[tuple[str, str]] = (),
) -> Report:
    """Everything that was measured, for readers; `missed`: what was not, and why."""
    workloads = list(dict.fromkeys(one.workload for one in found))
    tables = [
        *(_figures(found, workload, subjects) for workload in workloads),
        _compared(found, workloads),
        _missed(missed),
    ]
    return Report("engines", settings, raw, [table for table in tables if table.rows], [_plot(found, subjects)])


def best(found: Sequence[Measurement], workload: str, column: str) -> str | None:
    """Who among the others has the best median; None where nobody else was measured."""
    others = dict.fromkeys(one.subject for one in found if one.workload == workload and one.subject != OURS)
    medians = {name: _spread(found, workload, name, column).median for name in others}
    choose = max if _COMPARED[column] else min
    return choose(medians, key=medians.__getitem__) if medians else None


def compared(found: Sequence[Measurement], workload: str, column: str, other: str) -> Spread | None:
    """Ours ÷ another's, repeat by repeat; None where one was not measured."""
    figure = _COLUMNS[column]
    mine, theirs = ({one.repeat: one for one in _of(found, workload, name)} for name in (OURS, other))
    both = [ratio(figure(mine[repeat]), figure(theirs[repeat])) for repeat in mine if repeat in theirs]
    return spread(both) if both else None


def _figures(found: Sequence[Measurement], workload: str, subjects: Sequence[str]) -> Table:
    rows = []
    for name in subjects:
        mine = _of(found, workload, name)
        if mine:
            cells = (_spread(found, workload, name, column).text() for column in _COLUMNS)
            rows.append([name, *cells, str(sum(one.failed for one in mine))])
    return Table(
        f"{workload}: {WORKLOADS[workload]}", ["subject", *_COLUMNS, "failed"], rows, _reasons(found, workload)
    )


def _reasons(found: Sequence[Measurement], workload: str) -> str:
    said: dict[str, int] = {}
    for one in found:
        if one.workload == workload:
            for reason, times in one.reasons.items():
                key = f"{one.subject}: {reason}"
                said[key] = said.get(key, 0) + times
    told = (f"{' '.join(reason.split())} ({times})" for reason, times in said.items())
    return f"Failed: {'; '.join(told)}." if said else ""


def _compared(found: Sequence[Measurement], workloads: Sequence[str]) -> Table:
    rows = [[workload, *(_cell(found, workload, column) for column in _COMPARED)] for workload in workloads]
    measured = [row for row in rows if any(cell != "-" for cell in row[1:])]
    note = "In each cell who the best other is; of turns more is better."
    return Table("Ironrack ÷ the best other", ["workload", *_COMPARED], measured, note)


def _missed(missed: Sequence[tuple[str, str]]) -> Table:
    rows = [[what, " ".join(why.split())[:_SAID].replace("|", "/")] for what, why in missed]
    return Table("Not measured", ["what", "why"], rows)


def _cell(found: Sequence[Measurement], workload: str, column: str) -> str:
    other = best(found, workload, column)
    seen = compared(found, workload, column, other) if other else None
    return f"{seen.text()}, {other}" if seen else "-"


def _plot(found: Sequence[Measurement], subjects: Sequence[str]) -> Bars:
    columns = {"p50": "TTFT p50 (ms)", "p99": "TTFT p99 (ms)"}
    groups = {
        f"{workload}\n{short}": {
            name: _spread(found, workload, name, column) for name in subjects if _of(found, workload, name)
        }
        for workload in dict.fromkeys(one.workload for one in found)
        for short, column in columns.items()
    }
    return Bars("engines-first-token", "Time to the first token", "ms", groups, logarithmic=True)


def _of(found: Sequence[Measurement], workload: str, subject: str) -> list[Measurement]:
    return [one for one in found if (one.workload, one.subject) == (workload, subject)]


def _spread(found: Sequence[Measurement], workload: str, subject: str, column: str) -> Spread:
    return spread(map(_COLUMNS[column], _of(found, workload, subject)))
