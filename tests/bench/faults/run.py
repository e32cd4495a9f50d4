"""Every case in a lab of its own, and the table of what its clients saw."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.bench.errors import BenchError
from tests.bench.faults.cases import Case, cases
from tests.bench.faults.stage import staged
from tests.bench.progress import progress
from tests.bench.report import Report, Table
from tests.support.load import Outcome

_ENGINES = 4
_SHOWN = 5
EJECTED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What clients saw. `failed`: before a first byte; `cut`: after it; `problem`: why the case was not finished.

    `slowest`: the longest wait for a first byte, in seconds; `failures`: what some of those that failed were told;
    `ejected_after`: seconds until an engine that hung got nothing more, where that is what the case is about.
    """

    case: str
    requests: int
    failed: int
    cut: int
    slowest: float
    failures: Sequence[str]
    problem: str = ""
    ejected_after: float | None = None


def run(names: Sequence[str], rounds: int, pause_seconds: float) -> Report:
    """Play the cases whose name contains one of `names`; all of them for none. Raises BenchError."""
    wanted = {
        name: case for name, case in cases(pause_seconds).items() if not names or any(one in name for one in names)
    }
    if not wanted:
        raise BenchError(f"--cases {','.join(names)}: none is called so: give parts of {', '.join(cases(0))}")
    found = []
    with progress("faults", len(wanted)) as bar:
        for name, case in wanted.items():
            bar.say(name)
            found.append(asyncio.run(_play(name, case, rounds)))
            bar.step(name)
    settings = {"engines": _ENGINES, "rounds": rounds, "pause_seconds": pause_seconds}
    return Report("faults", settings, [asdict(one) for one in found], [table(found)])


async def _play(name: str, case: Case, rounds: int) -> Seen:
    problem = ""
    try:
        async with staged(_ENGINES, rounds, *case.options) as stage:
            outcomes = stage.load.outcomes
            try:
                await case.play(stage)
            except (BenchError, ExceptionGroup, OSError) as trouble:
                problem = _first(trouble)
    except AssertionError as trouble:
        raise BenchError(f"{name}: no lab: {trouble}") from trouble
    return seen(name, outcomes, problem, stage.ejected_after)


def seen(case: str, outcomes: Sequence[Outcome], problem: str = "", ejected_after: float | None = None) -> Seen:
    """Count what clients saw."""
    ends = Counter(one.end for one in outcomes)
    failures = Counter(one.error or f"status {one.status}" for one in outcomes if one.end == "failed")
    return Seen(
        case=case,
        requests=len(outcomes),
        failed=ends["failed"],
        cut=ends["cut"],
        slowest=max((one.first_byte for one in outcomes), default=0.0),
        failures=[f"{count} times {said}" for said, count in failures.most_common(_SHOWN)],
        problem=problem,
        ejected_after=ejected_after,
    )


def _first(trouble: BaseException) -> str:
    while isinstance(trouble, BaseExceptionGroup):
        trouble = trouble.exceptions[0]
    return f"{type(trouble).__name__}: {trouble}"


def table(found: Sequence[Seen]) -> Table:
    """What was seen, with the targets beside it."""
    rows = [_row(one) for one in found]
    note = (
        "Failed: before a first byte, target 0. Cut: the stream had begun when its engine died, which nobody can mend. "
        f"Out after: from when an engine hangs until it gets nothing more, target {EJECTED_SECONDS:g} s. "
        + " ".join(
            f"{one.case}: {'; '.join([*one.failures, one.problem])}." for one in found if one.failures or one.problem
        )
    ).strip()
    header = ["what happens", "requests", "failed", "cut", "longest wait for a first byte, s", "out after, s", ""]
    return Table("Faults under steady load", header, rows, note)


def _row(one: Seen) -> list[str]:
    out = "" if one.ejected_after is None else f"{one.ejected_after:.1f}"
    return [one.case, str(one.requests), str(one.failed), str(one.cut), f"{one.slowest:.1f}", out, _verdict(one)]


def _verdict(one: Seen) -> str:
    if one.problem:
        return "**not finished**"
    in_time = one.ejected_after is None or one.ejected_after <= EJECTED_SECONDS
    return "reached" if one.failed == 0 and in_time else "**not reached**"
