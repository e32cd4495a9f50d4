"""Streams that begin with a comment: the client is kept there, and the engine still computes the prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from router.fleet import Fleet, Outcome
from tests.support.fleets import SETTINGS, ask, engine, fleet_of

LONG = 400_000  # tokens: 50 s at 8,000 a second
SHORT = 8_000


def _waiting(fleet: Fleet, name: str = "a") -> int:
    return engine(fleet, name).uncached_tokens


def _commented(tokens: int = LONG, engines: int = 1) -> Fleet:
    """One long request at `a` since second 1, which has said a comment in second 16."""
    fleet = fleet_of(engines, replace(SETTINGS, leases_ttl_seconds=1e6))
    assert fleet.decide(ask("r1", prompt_tokens=tokens), 1.0).engine == "a"
    fleet.computing("r1", "a", 16.0)
    return fleet


def test_comment_gives_nothing_back() -> None:
    """Later requests see what the engine still has to do."""
    fleet = _commented()
    assert _waiting(fleet) == LONG
    fleet.expire(50.0)
    assert _waiting(fleet) == LONG


def test_prompt_counts_as_computed_when_by_the_engines_rate_it_is() -> None:
    """The edge hears of no second byte, so time has to tell. The request itself goes on."""
    fleet = _commented()
    fleet.expire(51.0)
    assert (_waiting(fleet), engine(fleet, "a").in_flight) == (0, 1)
    fleet.finished(Outcome("r1", "a", 200), 90.0)
    assert (_waiting(fleet), engine(fleet, "a").in_flight) == (0, 0)


def test_prompt_behind_others_takes_as_long_as_all_of_them() -> None:
    """An engine computes one after the other."""
    fleet = fleet_of(1, replace(SETTINGS, leases_ttl_seconds=1e6))
    for key in (1, 2):
        fleet.decide(ask(f"r{key}", key=key, prompt_tokens=LONG), 1.0)
        fleet.computing(f"r{key}", "a", 16.0)
    fleet.expire(51.0)
    assert _waiting(fleet) == LONG
    fleet.expire(101.0)
    assert _waiting(fleet) == 0


def test_later_requests_first_byte_says_that_earlier_prompts_are_computed() -> None:
    """Only those before it, and only at its own engine."""
    fleet = _commented()
    fleet.decide(ask("r2", key=2, prompt_tokens=SHORT), 17.0)
    fleet.decide(ask("r3", key=3, prompt_tokens=SHORT), 18.0)
    fleet.computing("r3", "a", 33.0)
    fleet.begun("r2", "a", 34.0)
    assert _waiting(fleet) == SHORT


def test_first_byte_at_another_engine_says_nothing() -> None:
    """Each has a line of its own."""
    fleet = _commented(engines=2)
    assert fleet.decide(ask("r2", key=2, prompt_tokens=SHORT), 17.0).engine == "b"
    fleet.begun("r2", "b", 18.0)
    assert _waiting(fleet) == LONG


@pytest.mark.parametrize(
    "end",
    [
        lambda fleet: fleet.finished(Outcome("r1", "a", 200), 20.0),
        lambda fleet: fleet.finished(Outcome("r1", "a", 200, "CD"), 20.0),
        lambda fleet: fleet.begun("r1", "a", 20.0),
        lambda fleet: [fleet.reconcile("a", 0, when) for when in (20.0, 21.0)],
    ],
    ids=["end", "client leaves", "first byte", "lost"],
)
def test_whatever_comes_first_gives_it_back_once(end: Callable[[Fleet], None]) -> None:
    """And time that comes later finds nothing."""
    fleet = _commented()
    end(fleet)
    assert _waiting(fleet) == 0
    fleet.expire(1000.0)
    fleet.finished(Outcome("r1", "a", 200), 1001.0)
    assert (_waiting(fleet), engine(fleet, "a").in_flight) == (0, 0)


def test_request_that_was_sent_elsewhere_counts_there_with_all_its_load() -> None:
    """A retry takes its tokens along; the other engine begins with them when it gets them."""
    fleet = fleet_of(2, replace(SETTINGS, leases_ttl_seconds=1e6))
    assert fleet.decide(ask("r1", prompt_tokens=LONG), 1.0).engine == "a"
    fleet.computing("r1", "b", 16.0)
    assert (_waiting(fleet, "a"), _waiting(fleet, "b")) == (0, LONG)
    assert (engine(fleet, "a").in_flight, engine(fleet, "b").in_flight) == (0, 1)
    fleet.expire(51.0)
    assert _waiting(fleet, "b") == LONG
    fleet.expire(66.0)
    assert _waiting(fleet, "b") == 0
    fleet.finished(Outcome("r1", "b", 200, retries=1, chosen="a"), 67.0)
    assert fleet.decide(ask("r2", prompt_tokens=LONG + 10), 68.0).engine == "b"


def test_comment_says_nothing_about_the_rate() -> None:
    """Fifteen seconds are the engine's habit, not what the prompt took."""
    fleet = fleet_of(1, replace(SETTINGS, leases_ttl_seconds=1e6))
    for number in range(20):
        start = 1000.0 * number
        fleet.decide(ask(f"r{number}", key=number, prompt_tokens=LONG), start)
        fleet.computing(f"r{number}", "a", start + 15.0)
        fleet.expire(start + 500.0)
        fleet.finished(Outcome(f"r{number}", "a", 200), start + 500.0)
    assert engine(fleet, "a").prefill_tokens_per_second == 8000.0


@pytest.mark.parametrize(("request_id", "server"), [("r9", "a"), ("r1", "nobody"), ("r1", "")])
def test_comment_of_nobody_changes_nothing(request_id: str, server: str) -> None:
    """It is counted like any other news of a request that is not known."""
    fleet = _commented()
    before = fleet.snapshot(16.0).counts["begun_unknown"]
    fleet.computing(request_id, server, 17.0)
    assert _waiting(fleet) == LONG
    assert fleet.snapshot(17.0).counts["begun_unknown"] == before + 1
