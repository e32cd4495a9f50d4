"""How much an engine is given: caps, what other deciders put there, how fast it is, and what the edge counts."""

from dataclasses import replace

import pytest

from router.errors import NoEngine, Saturated
from router.fleet import EngineSettings, Fleet, FleetSettings, Outcome, Probe
from tests.support.fleets import ENGINES, SETTINGS, UP, ask, engine, fleet_of, serve

FEW = replace(SETTINGS, max_requests=2)
SHORT = replace(SETTINGS, max_wait_seconds=1.0)  # 8,000 tokens


# ----------------------------------------------------------------------------------------------------------------- caps


def test_an_engine_with_enough_requests_is_full() -> None:
    """Two is the cap: the third request goes nowhere, and is told that it may wait."""
    fleet = fleet_of(1, FEW)
    for name in ("r1", "r2"):
        assert not engine(fleet, "a").full
        fleet.decide(ask(name), 1.0)
    assert engine(fleet, "a").full
    with pytest.raises(Saturated) as refused:
        fleet.decide(ask("r3"), 1.0)
    assert refused.value.status == 429
    fleet.finished(Outcome("r1", "a", 200), 1.0)
    assert fleet.decide(ask("r3"), 1.0).engine == "a"


def test_an_engine_with_more_prefill_work_than_it_does_in_time_is_full() -> None:
    """Seconds of work, not requests, are what the next one waits for."""
    fleet = fleet_of(1, SHORT)
    fleet.decide(ask("r1", prompt_tokens=8_000), 1.0)
    assert not engine(fleet, "a").full
    fleet.decide(ask("r2", prompt_tokens=100), 1.0)
    with pytest.raises(Saturated):
        fleet.decide(ask("r3"), 1.0)
    fleet.begun("r1", "a", 2.0)
    assert not engine(fleet, "a").full


def test_a_prompt_longer_than_the_cap_is_served_by_an_engine_with_nothing_to_do() -> None:
    """Otherwise nobody would ever serve it."""
    fleet = fleet_of(1, SHORT)
    assert fleet.decide(ask("r1", prompt_tokens=1_000_000), 1.0).engine == "a"
    with pytest.raises(Saturated):
        fleet.decide(ask("r2"), 1.0)


@pytest.mark.parametrize(("tokens", "seconds"), [(8_100, 1), (48_000, 5), (10_000_000, 60)])
def test_the_refused_are_told_when_there_is_room(tokens: int, seconds: int) -> None:
    """48,000 tokens take 6 s, and 1 s of work may wait: 5 s; never more than a minute."""
    fleet = fleet_of(1, SHORT)
    fleet.decide(ask("r1", prompt_tokens=tokens), 1.0)
    with pytest.raises(Saturated) as refused:
        fleet.decide(ask("r2"), 1.0)
    assert refused.value.retry_after == seconds


def test_a_full_engine_is_passed_over_while_another_has_room() -> None:
    """Home or not."""
    fleet = fleet_of(2, replace(SETTINGS, max_requests=1))
    home = fleet.decide(ask("r1"), 1.0).engine
    assert fleet.decide(ask("r2"), 1.0).engine != home


def test_an_engines_own_cap_comes_before_the_fleets() -> None:
    """A small card takes less."""
    fleet = Fleet(replace(FEW, engines=(replace(ENGINES[0], max_requests=3),)), 0.0)
    fleet.probe("a", UP, 0.0)
    for name in ("r1", "r2", "r3"):
        fleet.decide(ask(name), 1.0)
    assert engine(fleet, "a").full


def test_no_engine_and_full_engines_are_told_apart() -> None:
    """One means wait for room, the other wait for an operator."""
    fleet = fleet_of(2, replace(SETTINGS, max_requests=1))
    fleet.decide(ask("r1"), 1.0)
    fleet.decide(ask("r2"), 1.0)
    fleet.drain("a")
    with pytest.raises(Saturated):
        fleet.decide(ask("r3"), 1.0)
    fleet.drain("b")
    with pytest.raises(NoEngine):
        fleet.decide(ask("r3"), 1.0)


def test_new_caps_hold_at_once() -> None:
    """A reload needs no restart."""
    fleet = fleet_of(1)
    fleet.decide(ask("r1"), 1.0)
    fleet.configure(replace(SETTINGS, engines=ENGINES[:1], max_requests=1))
    with pytest.raises(Saturated):
        fleet.decide(ask("r2"), 1.0)


# ------------------------------------------------------------------------------------------------------- other deciders


def test_what_other_deciders_put_there_counts_like_our_own() -> None:
    """An engine that is busy for others is dear for us."""
    fleet = fleet_of(2)
    fleet.foreign("a", 50_000, 3)
    assert serve(fleet, ask("r1")).engine == "b"
    fleet.foreign("a", 0, 0)
    fleet.foreign("b", 50_000, 3)
    assert serve(fleet, ask("r2", key=2)).engine == "a"


def test_loads_are_our_own_alone() -> None:
    """What is told to others must not come back from them."""
    fleet = fleet_of(2)
    fleet.foreign("a", 50_000, 3)
    fleet.decide(ask("r1", prompt_tokens=700), 1.0)
    assert fleet.loads() == {"a": (0, 0), "b": (700, 1)}
    fleet.begun("r1", "b", 2.0)
    assert fleet.loads() == {"a": (0, 0), "b": (0, 1)}


def test_caps_are_for_all_deciders_together() -> None:
    """The engine does not care who asked."""
    fleet = fleet_of(1, FEW)
    fleet.foreign("a", 0, 2)
    assert engine(fleet, "a").full
    with pytest.raises(Saturated):
        fleet.decide(ask("r1"), 1.0)


def test_news_of_engines_that_are_gone_is_no_error() -> None:
    """Other bookkeepers learn of a reload a moment later."""
    fleet = fleet_of()
    fleet.foreign("gone", 5, 5)
    fleet.reconcile("gone", 0, 1.0)
    fleet.cache("gone", 5)
    fleet.calibrated("gone", 5.0)
    assert set(fleet.loads()) == {"a", "b", "c"}


# ----------------------------------------------------------------------------------------------------- the edge's count


def test_leases_at_an_engine_where_the_edge_has_nobody_twice_are_given_back() -> None:
    """Lost events cost seconds, not an hour."""
    fleet = fleet_of(1)
    fleet.decide(ask("r1"), 1.0)
    fleet.reconcile("a", 0, 6.0)
    assert fleet.snapshot(6.0).leases == 1
    fleet.reconcile("a", 0, 7.0)
    snapshot = fleet.snapshot(7.0)
    assert (snapshot.leases, snapshot.counts["leases_reconciled"]) == (0, 1)
    assert fleet.loads() == {"a": (0, 0)}


def test_leases_over_the_edges_count_are_given_back_oldest_first() -> None:
    """An engine that is never without requests does not keep a lost one for an hour either."""
    fleet = fleet_of(1)
    for number in range(4):
        fleet.decide(ask(f"r{number}", key=number), 1.0 + number)
    for at, sessions in ((80.0, 3), (81.0, 2), (82.0, 3)):
        fleet.reconcile("a", sessions, at)
    snapshot = fleet.snapshot(82.0)
    assert (snapshot.leases, snapshot.counts["leases_reconciled"]) == (3, 1)
    for number in range(4):
        fleet.finished(Outcome(f"r{number}", "a", 200, "--"), 83.0)
    assert fleet.loads() == {"a": (0, 0)}


def test_sessions_of_other_requests_are_no_proof_against_young_leases() -> None:
    """They may have been moved to another engine, and wait for their first byte there."""
    fleet = fleet_of(1)
    fleet.decide(ask("old"), 1.0)
    for number in range(3):
        fleet.decide(ask(f"young{number}", key=number), 30.0)
    for at in (80.0, 81.0):
        fleet.reconcile("a", 1, at)
    assert fleet.loads()["a"][1] == 4


def test_young_leases_are_not_given_back() -> None:
    """The edge may not have connected yet."""
    fleet = fleet_of(1)
    fleet.decide(ask("old"), 1.0)
    fleet.decide(ask("young", key=2), 3.0)
    for at in (5.0, 6.0, 7.0):
        fleet.reconcile("a", 0, at)
    assert fleet.loads() == {"a": (1000, 1)}


def test_one_empty_count_between_two_others_is_no_proof() -> None:
    """Between two requests of a busy engine there may be nobody for a moment."""
    fleet = fleet_of(1)
    fleet.decide(ask("r1"), 1.0)
    for at, sessions in ((10.0, 0), (11.0, 1), (12.0, 0)):
        fleet.reconcile("a", sessions, at)
    assert fleet.snapshot(12.0).leases == 1


def test_a_count_from_long_ago_is_no_second_one() -> None:
    """The edge's socket was gone for a while: the first look after that is one look."""
    fleet = fleet_of(1)
    fleet.reconcile("a", 0, 1.0)
    fleet.decide(ask("r1"), 2.0)
    fleet.reconcile("a", 0, 20.0)
    assert fleet.snapshot(20.0).leases == 1


def test_a_lease_counts_where_its_request_went() -> None:
    """Retried elsewhere: the count of the engine that was left says nothing about it."""
    fleet = fleet_of(2)
    chosen = fleet.decide(ask("r1"), 1.0).engine
    other = "b" if chosen == "a" else "a"
    fleet.begun("r1", other, 2.0)
    for at in (8.0, 9.0):
        fleet.reconcile(chosen, 0, at)
    assert fleet.loads()[other] == (0, 1)


# ---------------------------------------------------------------------------------------------------------------- rates


def measured(fleet: Fleet, tokens: int, seconds: float, times: int) -> None:
    """Requests one after the other on an otherwise idle engine."""
    for at in range(times):
        start = 10.0 * at
        fleet.decide(ask(f"m{at}", key=1000 + at, prompt_tokens=tokens), start)
        fleet.begun(f"m{at}", "a", start + seconds)
        fleet.finished(Outcome(f"m{at}", "a", 200), start + seconds)
    fleet.expire(10.0 * times)


def test_the_rate_follows_what_is_seen() -> None:
    """Eight first bytes at 6,000 tokens a second, and decisions count with that."""
    fleet = fleet_of(1)
    measured(fleet, 3000, 0.5, 8)
    assert engine(fleet, "a").prefill_tokens_per_second == pytest.approx(6000.0)
    assert fleet.decide(ask("r", prompt_tokens=6000), 100.0).cost_seconds == pytest.approx(1.0)


def test_a_measured_prompt_replaces_what_was_configured() -> None:
    """And bounds what is tracked from then on."""
    fleet = fleet_of(1)
    fleet.calibrated("a", 2000.0)
    assert engine(fleet, "a").calibrated_tokens_per_second == 2000.0
    measured(fleet, 3000, 0.1, 20)
    assert engine(fleet, "a").prefill_tokens_per_second == 4000.0


@pytest.mark.parametrize(("configured", "after"), [(8000.0, 2000.0), (5000.0, 5000.0)])
def test_a_reload_keeps_what_was_measured_unless_it_says_otherwise(configured: float, after: float) -> None:
    """Another figure in the file is an operator's word."""
    fleet = fleet_of(1)
    fleet.calibrated("a", 2000.0)
    wanted = EngineSettings("a", ENGINES[0].url, "m", configured)
    fleet.configure(FleetSettings((wanted,)))
    assert engine(fleet, "a").prefill_tokens_per_second == after


@pytest.mark.parametrize("event", ["other decider", "client left", "error", "served elsewhere"])
def test_what_happened_for_other_reasons_says_nothing_about_the_rate(event: str) -> None:
    """Only prompts that were computed there, and nothing else beside them, are a measure."""
    fleet = fleet_of(2)
    fleet.drain("b")
    for at in range(20):
        start, name = 10.0 * at, f"m{at}"
        fleet.decide(ask(name, key=1000 + at, prompt_tokens=3000), start)
        if event == "other decider":
            fleet.foreign("a", 100, 1)
        if event == "client left":
            fleet.finished(Outcome(name, "a", -1, "CH"), start + 0.5)
        fleet.begun(name, "b" if event == "served elsewhere" else "a", start + 0.5, 500 if event == "error" else 200)
        fleet.finished(Outcome(name, "", 200), start + 0.5)
    fleet.expire(200.0)
    assert engine(fleet, "a").prefill_tokens_per_second == 8000.0


def test_the_probe_tells_how_large_the_cache_is() -> None:
    """Until then a modest size is assumed."""
    fleet = fleet_of(1)
    assert engine(fleet, "a").cache_tokens == 100_000
    fleet.probe("a", Probe(ok=True, cache_tokens=32_000), 1.0)
    assert engine(fleet, "a").cache_tokens == 32_000


# ---------------------------------------------------------------------------------------------------- who is how fast


def test_new_sessions_are_spread_over_engines_that_differ_by_what_measuring_differs() -> None:
    """While there is nothing else to do, a few percent decide nothing; and prices say so, metrics do not."""
    fleet = fleet_of(2)
    fleet.calibrated("a", 8441.0)
    fleet.calibrated("b", 7800.0)
    served = [serve(fleet, ask(f"r{key}", key=key, prompt_tokens=30_000)).engine for key in range(100)]
    assert 30 <= served.count("a") <= 70
    assert [engine(fleet, name).prefill_tokens_per_second for name in "ab"] == [8441.0, 7800.0]


def test_an_engine_that_is_clearly_faster_is_asked_first() -> None:
    """A third is no noise."""
    fleet = fleet_of(2)
    fleet.calibrated("a", 12_000.0)
    fleet.calibrated("b", 9_000.0)
    served = {serve(fleet, ask(f"r{key}", key=key, prompt_tokens=30_000)).engine for key in range(50)}
    assert served == {"a"}


def test_what_is_seen_of_a_rate_later_counts_from_the_next_second_on() -> None:
    """An engine that turns out slower than its equals is no equal any more."""
    fleet = fleet_of(2)
    for name in "ab":
        fleet.calibrated(name, 8000.0)
    fleet.calibrated("b", 5000.0)
    assert fleet.decide(ask("r1", key=1, prompt_tokens=30_000), 1.0).cost_seconds == pytest.approx(30_000 / 8000)
    fleet.calibrated("b", 7000.0)
    assert fleet.decide(ask("r2", key=2, prompt_tokens=30_000), 1.0).cost_seconds == pytest.approx(30_000 / 7500)
