"""Measurements → the tables and plots of a report, and the targets they are held against."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.figures import Spread, digits, ratio, spread
from tests.bench.overhead.measured import Measurement
from tests.bench.overhead.workloads import Workload
from tests.bench.report import Bars, Report, Table

_OURS = "ironrack"
# (workload, whom we are held against, the most we may need of what it needs)
_TARGETS = (
    ("W1", "vllm-router consistent_hash", 0.9),
    ("W3", "haproxy", 1.1),
    ("W4", "vllm-router consistent_hash", 0.7),
)


def report(
    found: Sequence[Measurement],
    workloads: Sequence[Workload],
    subjects: Sequence[str],
    settings: Mapping[str, Any],
    raw: Any,
) -> Report:
    """Everything that was measured, for readers."""
    tables = [
        _costs(found, workloads, subjects),
        _parts(found, workloads),
        _targets(found),
        _rates(found, workloads, subjects),
    ]
    return Report("overhead", settings, raw, [table for table in tables if table.rows], _plots(found, workloads))


def paired(found: Sequence[Measurement], workload: str, ours: str, theirs: str) -> Spread | None:
    """CPU of one subject ÷ that of another on one workload, repeat by repeat; None where one was not measured."""
    mine, other = _by_repeat(found, workload, ours), _by_repeat(found, workload, theirs)
    both = [ratio(mine[repeat].together, other[repeat].together) for repeat in mine if repeat in other]
    return spread(both) if both else None


def _by_repeat(found: Sequence[Measurement], workload: str, subject: str) -> dict[int, Measurement]:
    return {one.repeat: one for one in found if (one.workload, one.subject) == (workload, subject)}


def _costs(found: Sequence[Measurement], workloads: Sequence[Workload], subjects: Sequence[str]) -> Table:
    header = ["subject", *(f"{one.name} µs/{one.unit}" for one in workloads)]
    rows = [[name, *(_text(found, one.name, name) for one in workloads)] for name in subjects]
    said = "; ".join(f"{one.name}: {one.title}" for one in workloads)
    return Table("CPU of all processes of a subject, median (lowest to highest)", header, rows, f"{said}.")


def _parts(found: Sequence[Measurement], workloads: Sequence[Workload]) -> Table:
    names = sorted({part for one in found if one.subject == _OURS for part in one.microseconds})
    rows = []
    for part in names:
        cells = []
        for workload in workloads:
            mine = [one.microseconds[part] for one in _by_repeat(found, workload.name, _OURS).values()]
            cells.append(spread(mine).text() if mine else "-")
        rows.append([part, *cells])
    return Table("Ironrack's parts", ["part", *(f"{one.name} µs/{one.unit}" for one in workloads)], rows)


def _targets(found: Sequence[Measurement]) -> Table:
    rows = []
    for workload, other, most in _TARGETS:
        seen = paired(found, workload, _OURS, other)
        if seen is not None:
            verdict = "reached" if seen.median <= most else "**not reached**"
            rows.append([workload, other, seen.text(), f"≤ {most}", verdict])
    return Table("Ironrack ÷ another, repeat by repeat", ["workload", "other", "ratio", "target", ""], rows)


def _rates(found: Sequence[Measurement], workloads: Sequence[Workload], subjects: Sequence[str]) -> Table:
    closed = [one for one in workloads if not one.streams]
    rows = []
    for name in subjects:
        mine = [one for one in found if one.subject == name]
        rates = (spread(one.per_second for one in mine if one.workload == work.name) for work in closed)
        rows.append([name, *(digits(one.median) for one in rates), str(sum(one.failed for one in mine))])
    header = ["subject", *(f"{one.name} requests/s" for one in closed), "failed in all"]
    note = "Rates saturate on cores shared with client and engines: the CPU figures are the ones to trust."
    return Table("Rates", header, rows if closed else [], note)


def _plots(found: Sequence[Measurement], workloads: Sequence[Workload]) -> list[Bars]:
    plots = []
    for unit in ("request", "chunk"):
        chosen = [one for one in workloads if one.unit == unit]
        groups = {one.name: _group(found, one.name) for one in chosen}
        if groups:
            title = f"CPU per {unit}, edge and router together"
            plots.append(Bars(f"overhead-{unit}", title, f"µs per {unit}", groups, logarithmic=unit == "request"))
    return plots


def _group(found: Sequence[Measurement], workload: str) -> dict[str, Spread]:
    names = dict.fromkeys(one.subject for one in found if one.workload == workload)
    return {name: spread(one.together for one in _by_repeat(found, workload, name).values()) for name in sorted(names)}


def _text(found: Sequence[Measurement], workload: str, subject: str) -> str:
    mine = [one.together for one in _by_repeat(found, workload, subject).values()]
    return spread(mine).text() if mine else "-"
