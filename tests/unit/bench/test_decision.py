"""What the benchmark of single decisions measures."""

from __future__ import annotations

from tests.bench.bench_spop import begun, line
from tests.bench.decision.run import SESSIONS, WARM_TURNS, Decider, Wanted, frames_of, run


def test_every_length_is_measured_and_one_is_judged() -> None:
    """Both ways of naming a session for each length, and a verdict where there is a target."""
    report = run(Wanted(engines=2, decisions=20, octets=(1000, 50_000)))
    [table] = report.tables
    assert [row[1] for row in table.rows] == ["20"] * 4
    assert [bool(row[5]) for row in table.rows] == [False, False, True, True]
    assert all(len(times) == 20 for times in report.raw.values())


def test_what_is_measured_is_a_decision() -> None:
    """Sessions have homes after the first turn, by name or by how they begin: no refusal is timed in their place."""
    for named in (True, False):
        decider = Decider(4)
        frames = frames_of(1000, iter(range(10_000)).__next__, named=named)
        for number, frame in (next(frames) for _ in range(WARM_TURNS * SESSIONS)):
            decider.question(frame)
            decider.question(begun(number))
            decider.completion(line(number))
        whys = {why for _, why in decider.tally.decisions}
        assert decider.tally.refusals.total() == 0
        assert "home" in whys
        assert sum(decider.tally.decisions.values()) == WARM_TURNS * SESSIONS
