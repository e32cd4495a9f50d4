"""What engines are believed to hold beyond one session, and where stored answers are."""

from dataclasses import replace
from dataclasses import replace as changed

import pytest

from router.fleet import Outcome, Probe
from router.parse import response_key
from router.pick import Why
from tests.support.fleets import DOWN, SETTINGS, UP, ask, engine, fail, fleet_of, serve

SHARED = (11, 12, 13, 14)
NO_INDEX = changed(SETTINGS, index_enabled=False)


def test_a_new_session_goes_where_its_beginning_is_cached() -> None:
    """A long system prompt of another session is worth its prefill."""
    fleet = fleet_of()
    first = serve(fleet, ask("r1", key=1, prompt_tokens=4000, blocks=SHARED))
    second = serve(fleet, ask("r2", key=2, prompt_tokens=5000, blocks=(*SHARED, 99)))
    assert (second.engine, second.why, second.uncached_tokens) == (first.engine, Why.NEW, 1000)


def test_what_lies_behind_the_hashed_beginning_is_believed_of_the_session_itself() -> None:
    """Blocks end somewhere; a long conversation's home holds the rest, too, and nobody else's beginning does."""
    fleet = fleet_of()
    long = replace(ask("r1", key=1, prompt_tokens=4000, blocks=SHARED), prompt_tokens=50_000)
    serve(fleet, long)
    again = replace(long, id="r2", prompt_tokens=51_000)
    assert serve(fleet, again).uncached_tokens == 1000
    other = replace(long, id="r3", key=2, prompt_tokens=51_000)
    assert serve(fleet, other).uncached_tokens == 47_000
    edited = replace(again, id="r4", blocks=(11, 12, 98, 99))
    assert serve(fleet, edited).uncached_tokens == 49_000


def test_without_the_index_only_the_session_itself_counts() -> None:
    """Switched off, nothing is believed of other sessions, nor kept."""
    fleet = fleet_of(settings=NO_INDEX)
    serve(fleet, ask("r1", key=1, prompt_tokens=4000, blocks=SHARED))
    assert serve(fleet, ask("r2", key=2, prompt_tokens=4000, blocks=SHARED)).uncached_tokens == 4000
    assert serve(fleet, ask("r3", key=1, prompt_tokens=4100, blocks=SHARED)).uncached_tokens == 100
    assert fleet.snapshot(1.0).index_entries == 0


def test_what_another_engine_computed_is_believed_of_that_one() -> None:
    """The edge retried elsewhere: there the prompt is cached."""
    fleet = fleet_of(2)
    chosen = fleet.decide(ask("r1", prompt_tokens=4000, blocks=SHARED), 1.0).engine
    other = "b" if chosen == "a" else "a"
    fleet.begun("r1", other, 1.0)
    fleet.drain(chosen)
    assert fleet.decide(ask("r2", key=2, prompt_tokens=4000, blocks=SHARED), 1.0).uncached_tokens == 1


@pytest.mark.parametrize("how", ["probes", "start time", "refused"])
def test_an_engine_that_was_restarted_holds_nothing(how: str) -> None:
    """Whatever tells of a new process empties what was believed of the old one."""
    fleet = fleet_of(1)
    fleet.probe("a", Probe(ok=True, epoch_hint=1.0), 0.0)
    serve(fleet, ask("r1", prompt_tokens=4000, blocks=SHARED))
    assert engine(fleet, "a").index_tokens == 4000
    if how == "probes":
        for _ in range(3):
            fleet.probe("a", DOWN, 2.0)
        fleet.probe("a", UP, 3.0)
    elif how == "start time":
        fleet.probe("a", Probe(ok=True, epoch_hint=2.0), 2.0)
    else:
        fail(fleet, "a", 1, termination="SC")
        fleet.finished(Outcome("fine", "a", 200), 2.0)
    assert engine(fleet, "a").index_tokens == 0
    assert fleet.decide(ask("r2", key=2, prompt_tokens=4000, blocks=SHARED), 4.0).uncached_tokens == 4000


def test_no_more_is_believed_than_the_cache_has_room_for() -> None:
    """An index larger than the cache sends sessions where they were forgotten."""
    fleet = fleet_of(1)
    fleet.probe("a", Probe(ok=True, cache_tokens=5000), 0.0)
    for number in range(10):
        serve(fleet, ask(f"r{number}", key=number, prompt_tokens=2000, blocks=(number * 2, number * 2 + 1)))
    assert 0 < engine(fleet, "a").index_tokens <= 5000
    assert fleet.snapshot(1.0).counts["index_evicted"] > 0


def test_engines_that_leave_take_what_was_believed_of_them_along() -> None:
    """And one that comes back under its name holds nothing."""
    fleet = fleet_of(2)
    serve(fleet, ask("r1", prompt_tokens=4000, blocks=SHARED))
    fleet.configure(changed(SETTINGS, engines=()))
    assert fleet.snapshot(1.0).index_entries == 0
    fleet.configure(changed(SETTINGS, engines=SETTINGS.engines[:2]))
    assert all(found.index_tokens == 0 for found in fleet.snapshot(1.0).engines)


def test_switching_the_index_off_forgets_it() -> None:
    """What is not used is not kept."""
    fleet = fleet_of()
    serve(fleet, ask("r1", prompt_tokens=4000, blocks=SHARED))
    fleet.configure(NO_INDEX)
    assert fleet.snapshot(1.0).index_entries == 0


# ------------------------------------------------------------------------------------------------------- stored answers


def test_what_continues_a_stored_answer_goes_to_its_engine_whatever_that_costs() -> None:
    """Only the engine that stored it can continue it."""
    fleet = fleet_of()
    home = fleet.decide(ask("r1", key=1), 1.0).engine
    fleet.begun("r1", home, 1.0)
    fleet.stored("r1", "resp_1", 1.0)
    fleet.finished(Outcome("r1", home, 200), 1.0)
    fleet.foreign(home, 1_000_000, 50)
    previous = response_key("-", "m", "resp_1")
    choice = fleet.decide(ask("r2", key=2, previous=previous), 2.0)
    assert (choice.engine, choice.why) == (home, Why.HOME)


def test_an_answer_is_stored_where_it_was_served() -> None:
    """The edge retried elsewhere."""
    fleet = fleet_of(2)
    chosen = fleet.decide(ask("r1", key=1), 1.0).engine
    other = "b" if chosen == "a" else "a"
    fleet.begun("r1", other, 1.0)
    fleet.stored("r1", "resp_1", 1.0)
    previous = response_key("-", "m", "resp_1")
    assert fleet.decide(ask("r2", key=2, previous=previous), 2.0).engine == other


def test_a_stored_answer_whose_engine_is_out_does_not_stop_the_request() -> None:
    """Another engine says itself that it does not know it."""
    fleet = fleet_of(2)
    home = fleet.decide(ask("r1", key=1), 1.0).engine
    fleet.stored("r1", "resp_1", 1.0)
    fail(fleet, home, 3)
    choice = fleet.decide(ask("r2", key=2, previous=response_key("-", "m", "resp_1")), 2.0)
    assert choice.engine != home


def test_an_answer_nobody_stored_leaves_the_session_where_it_is() -> None:
    """An unknown id is no reason to go anywhere."""
    fleet = fleet_of()
    home = serve(fleet, ask("r1", key=1)).engine
    assert serve(fleet, ask("r2", key=1, previous=12345)).engine == home


def test_storing_for_a_request_that_is_not_known_does_nothing() -> None:
    """Late, or decided elsewhere."""
    fleet = fleet_of()
    fleet.stored("nobody", "resp_1", 1.0)
    assert fleet.snapshot(1.0).bindings == 0
