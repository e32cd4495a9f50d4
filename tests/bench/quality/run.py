"""Which runs answer which question."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.bench.progress import progress
from tests.bench.quality.ironrack import Deciders, Split
from tests.bench.quality.jobs import OURS, TRACE, Job, Played, play_all
from tests.bench.quality.rules import RULES
from tests.bench.quality.tables import report
from tests.bench.quality.workloads import WORKLOADS
from tests.bench.report import Report

_SEVERAL = ("agent", "multi-round", "shared-prompt", TRACE)
_SPLITS: tuple[Split, ...] = ("hash", "random")
_RESIZES = (8, 9, 7)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to find out. `workloads` empty: all there is data for. `share_seconds`: how stale shared load may be."""

    workloads: Sequence[str]
    deciders: Sequence[int]
    seeds: int
    scale: float
    trace: Path | None
    share_seconds: float | None
    processes: int


def run(wanted: Wanted) -> Report:
    """Simulate and report. Raises BenchError."""
    rules, several, resizes = _rules(wanted), _deciders(wanted), _resizes(wanted)
    found: list[Played] = []
    jobs = [*rules, *several, *resizes]
    with progress("quality", len(jobs)) as bar:
        for played in play_all(jobs, wanted.processes):
            found.append(played)
            bar.step(f"{played.job.workload} {played.job.rule}")
    cut = len(rules), len(rules) + len(several)
    settings = {
        "seeds": wanted.seeds,
        "scale": wanted.scale,
        "deciders": list(wanted.deciders),
        "load shared every": "never" if wanted.share_seconds is None else f"{wanted.share_seconds:g} s",
    }
    raw = [asdict(one) for one in found]
    return report(found[: cut[0]], found[cut[0] : cut[1]], found[cut[1] :], settings, raw)


def _workloads(wanted: Wanted) -> list[str]:
    return list(wanted.workloads) or [*WORKLOADS, *([TRACE] if wanted.trace else [])]


def _job(wanted: Wanted, workload: str, rule: str, seed: int, deciders: Deciders) -> Job:
    return Job(workload, rule, seed, wanted.scale, str(wanted.trace or ""), deciders)


def _rules(wanted: Wanted) -> list[Job]:
    return [
        _job(wanted, workload, rule, seed, Deciders())
        for workload in _workloads(wanted)
        for rule in (OURS, *RULES)
        for seed in range(wanted.seeds)
    ]


def _deciders(wanted: Wanted) -> list[Job]:
    return [
        _job(wanted, workload, OURS, seed, Deciders(count, split, wanted.share_seconds))
        for workload in _workloads(wanted)
        if workload in _SEVERAL
        for split in (*_SPLITS, *(("beginning",) if workload == "shared-prompt" else ()))
        for count in wanted.deciders
        if count > 1
        for seed in range(wanted.seeds)
    ]


def _resizes(wanted: Wanted) -> list[Job]:
    return [
        replace(_job(wanted, "agent", rule, seed, Deciders()), resize=count)
        for rule in (OURS, "hash", "bounded hash", "prefix-only")
        for count in _RESIZES
        for seed in range(wanted.seeds)
        if "agent" in _workloads(wanted)
    ]
