"""Runs → the tables and plots of a report, and the targets they are held against."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.bench.figures import Spread, digits, spread
from tests.bench.quality.jobs import OURS, RESIZED_WITHIN, Played
from tests.bench.quality.measure import Quality
from tests.bench.report import Bars, Report, Table

_LEAST_HIT = 0.95
_HIT_TARGETS = ("agent", "multi-round")
_SHIFTED = {8: "no change", 9: "8 to 9", 7: "8 to 7"}
Key = tuple[object, ...]


def report(
    rules: Sequence[Played],
    several: Sequence[Played],
    resizes: Sequence[Played],
    settings: Mapping[str, Any],
    raw: Any,
) -> Report:
    """Everything, for readers."""
    tables = [*_by_workload(rules), _deciders(rules, several), _remap(resizes), _targets(rules, several)]
    return Report("quality", settings, raw, [table for table in tables if table.rows], _plots(rules))


def grouped(found: Sequence[Played], key: Callable[[Played], Key]) -> dict[Key, list[Played]]:
    """Runs that differ in their seed only, in the order in which they came."""
    groups: dict[Key, list[Played]] = {}
    for one in found:
        groups.setdefault(key(one), []).append(one)
    return groups


def over(found: Sequence[Played], figure: Callable[[Quality], float]) -> Spread:
    """One figure over the seeds."""
    return spread(figure(one.quality) for one in found)


def _by_workload(rules: Sequence[Played]) -> list[Table]:
    tables = []
    for (workload,), mine in grouped(rules, lambda one: (one.job.workload,)).items():
        rows = [[str(rule), *_row(runs)] for (rule,), runs in grouped(mine, lambda one: (one.job.rule,)).items()]
        requests = over(mine, lambda one: one.requests)
        title = f"{workload}: {digits(requests.median)} requests on 8 engines, one decider"
        tables.append(Table(title, ["rule", *_COLUMNS], rows))
    return tables


_COLUMNS = ["hit", "÷ oracle", "÷ same session", "TTFT s p50", "p90", "p99", "imbalance", "spills"]


def _row(runs: Sequence[Played]) -> list[str]:
    own = over(runs, lambda one: one.of_own)
    return [
        f"{over(runs, lambda one: one.hit).median:.3f}",
        over(runs, lambda one: one.of_oracle).text(),
        own.text() if own.median else "-",
        over(runs, lambda one: one.ttft[0]).text(),
        over(runs, lambda one: one.ttft[1]).text(),
        over(runs, lambda one: one.ttft[2]).text(),
        f"{over(runs, lambda one: one.imbalance).median:.2f}",
        f"{over(runs, lambda one: one.spills).median:.1%}",
    ]


def _deciders(rules: Sequence[Played], several: Sequence[Played]) -> Table:
    rows = []
    for (workload,), mine in grouped(several, lambda one: (one.job.workload,)).items():
        alone = [one for one in rules if (one.job.workload, one.job.rule) == (workload, OURS)]
        rows.append([str(workload), "1", "-", *_short(alone)])
        for (split, count), runs in grouped(mine, lambda one: (one.job.deciders.split, one.job.deciders.count)).items():
            rows.append(["", str(count), str(split), *_short(runs)])
    note = (
        "`hash`: the edge hashes the session to a decider, as it does where there is one; `random`: nobody does; "
        "`beginning`: it hashes how the body begins, as for requests that name no session."
    )
    header = ["workload", "deciders", "split", "÷ oracle", "TTFT s p50", "p90", "p99"]
    return Table("Ironrack with several deciders", header, rows, note)


def _short(runs: Sequence[Played]) -> list[str]:
    row = _row(runs)
    return [row[1], *row[3:6]]


def _remap(resizes: Sequence[Played]) -> Table:
    rows = []
    for (rule,), mine in grouped(resizes, lambda one: (one.job.rule,)).items():
        by_count = grouped(mine, lambda one: (one.job.resize,))
        rows.append([str(rule), *(_percent(by_count.get((count,), ())) for count in _SHIFTED)])
    header = ["rule", *_SHIFTED.values()]
    title = f"agent: sessions whose engine changed within {RESIZED_WITHIN:.0f} s of engines coming or going"
    note = "8 to 9 must move none; of 8 to 7 the ideal is one in eight, 12.5 %."
    return Table(title, header, rows, note)


def _percent(runs: Sequence[Played]) -> str:
    if not runs:
        return "-"
    found = spread(one.moved for one in runs)
    return f"{found.median:.1%} ({found.low:.1%} to {found.high:.1%})"


def _targets(rules: Sequence[Played], several: Sequence[Played]) -> Table:
    rows = [*_hit_targets(rules, several), *_ttft_targets(rules)]
    return Table("Targets", ["what", "seen", "target", ""], rows)


def _hit_targets(rules: Sequence[Played], several: Sequence[Played]) -> list[list[str]]:
    rows = []
    for workload in _HIT_TARGETS:
        alone = [one for one in rules if (one.job.workload, one.job.rule) == (workload, OURS)]
        four = [
            one
            for one in several
            if one.job.workload == workload and (one.job.deciders.count, one.job.deciders.split) == (4, "hash")
        ]
        for name, runs in (("1 decider", alone), ("4 deciders, hash", four)):
            if runs:
                seen = over(runs, lambda one: one.of_oracle)
                what = f"{workload}: hit ÷ oracle, {name}"
                rows.append([what, seen.text(), f"≥ {_LEAST_HIT}", _verdict(seen.median >= _LEAST_HIT)])
    return rows


def _ttft_targets(rules: Sequence[Played]) -> list[list[str]]:
    rows = []
    for (workload,), mine in grouped(rules, lambda one: (one.job.workload,)).items():
        by_rule = {
            str(rule): over(runs, lambda one: one.ttft[2])
            for (rule,), runs in grouped(mine, lambda one: (one.job.rule,)).items()
        }
        ours = by_rule.pop(OURS)
        best = min(by_rule, key=lambda name: by_rule[name].median)
        seen, most = ours.text(), by_rule[best]
        verdict = "tied: the ranges overlap" if ours.low <= most.high else _verdict(False)
        verdict = _verdict(True) if ours.median <= most.median else verdict
        rows.append([f"{workload}: TTFT p99, s", seen, f"≤ {best}: {most.text()}", verdict])
    return rows


def _verdict(reached: bool) -> str:
    return "reached" if reached else "**not reached**"


def _plots(rules: Sequence[Played]) -> list[Bars]:
    wanted: tuple[tuple[str, str, str, Callable[[Quality], float], bool], ...] = (
        ("quality-hit", "Hit ratio ÷ oracle", "ratio", lambda one: one.of_oracle, True),
        ("quality-ttft", "Time to first token, p99", "seconds", lambda one: one.ttft[2], False),
    )
    plots = []
    for name, title, unit, figure, higher in wanted:
        groups = {
            str(workload): {
                str(rule): over(runs, figure) for (rule,), runs in grouped(mine, lambda one: (one.job.rule,)).items()
            }
            for (workload,), mine in grouped(rules, lambda one: (one.job.workload,)).items()
        }
        shown = {workload: group for workload, group in groups.items() if any(one.high for one in group.values())}
        plots.append(Bars(name, title, unit, shown, higher=higher, logarithmic=not higher))
    return plots
