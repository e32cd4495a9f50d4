"""Answers that were there whole: of them the fleet hears only that they ended."""

from __future__ import annotations

from router.fleet import Outcome, Probe
from tests.support.fleets import ask, engine, fleet_of


def test_whole_answer_counts_among_what_an_engine_was_sent() -> None:
    """Without news of its first byte a prompt was computed all the same: the tokens of a model are learnt from it."""
    fleet = fleet_of(1)
    fleet.probe("a", Probe(ok=True, prompt_tokens=0.0, first_tokens=0.0), 0.0)
    before = dict(fleet.ratios)
    for number in range(3):
        choice = fleet.decide(ask(f"r{number}", key=number), 1.0)
        fleet.finished(Outcome(f"r{number}", choice.engine, 200, "--", 0, choice.engine), 1.1)
    assert engine(fleet, "a").in_flight == 0
    fleet.probe("a", Probe(ok=True, prompt_tokens=6000.0, first_tokens=3.0), 2.0)
    assert dict(fleet.ratios) != before
