"""The fleet's truth: health, leases, bindings."""

from dataclasses import replace

import pytest

from router.bindings import with_belief
from router.errors import NoEngine, UnknownEngine
from router.fleet import Fleet, FleetSettings, Outcome, Probe, State
from router.pick import Belief, Why
from tests.support.fleets import DOWN, ENGINES, OTHER, SETTINGS, UP, ask, engine, fail, fleet_of, serve

# ------------------------------------------------------------------------------------------------------- who is alive


def test_an_engine_never_seen_healthy_gets_no_work() -> None:
    """Starting engines are not servable: 503, and when to come back."""
    fleet = Fleet(SETTINGS, 0.0)
    with pytest.raises(NoEngine) as refused:
        fleet.decide(ask(), 1.0)
    assert "3 starting" in refused.value.message
    assert refused.value.retry_after == SETTINGS.retry_after_seconds


def test_an_unknown_model_has_no_engine() -> None:
    """A model without engines is refused the same way."""
    with pytest.raises(NoEngine, match="none is configured"):
        fleet_of().decide(ask(model="nothing"), 1.0)


def test_a_starting_engine_is_ready_after_enough_probes() -> None:
    """`rise_after` good probes in a row."""
    fleet = Fleet(replace(SETTINGS, probe_rise_after=2), 0.0)
    for probe, state in ((UP, State.STARTING), (DOWN, State.STARTING), (UP, State.STARTING), (UP, State.READY)):
        fleet.probe("a", probe, 0.0)
        assert engine(fleet, "a").state is state


def test_a_request_that_worked_proves_a_starting_engine() -> None:
    """After a restart of the router, traffic that the edge routed itself counts as a proof of life."""
    fleet = Fleet(SETTINGS, 0.0)
    fleet.finished(Outcome("before", "a", 200), 1.0)
    assert engine(fleet, "a").state is State.READY


def test_failed_requests_in_a_row_eject_an_engine_for_a_while() -> None:
    """Suspect at the first, ejected at the third, tried again after the back-off."""
    fleet = fleet_of()
    fail(fleet, "a")
    assert engine(fleet, "a").state is State.SUSPECT
    fail(fleet, "a", 2)
    assert engine(fleet, "a").state is State.EJECTED
    fleet.expire(5.9)
    assert engine(fleet, "a").state is State.EJECTED
    fleet.expire(6.0)
    assert engine(fleet, "a").state is State.PROBING


def test_a_request_that_works_forgives_the_failed_ones_before_it() -> None:
    """Only failures in a row count."""
    fleet = fleet_of()
    fail(fleet, "a", 2)
    fleet.finished(Outcome("fine", "a", 200), 1.0)
    fail(fleet, "a", 2)
    assert engine(fleet, "a").state is State.SUSPECT


def test_a_good_probe_does_not_forgive_failed_requests() -> None:
    """A frozen engine still answers its health check: three lost requests eject it all the same."""
    fleet = fleet_of()
    for _ in range(3):
        fail(fleet, "a")
        fleet.probe("a", UP, 1.0)
    assert engine(fleet, "a").state is State.EJECTED


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("r", "a", 429),
        Outcome("r", "a", 400),
        Outcome("r", "a", 404),
        Outcome("r", "a", -1, "CH"),
        Outcome("r", "a", 503, "sQ"),
        Outcome("r", "a", 200, "CD"),
        Outcome("r", "a", 200, "DD"),
        Outcome("r", "a", 413, "LR"),
        Outcome("r", "", 503, "SC"),
        Outcome("r", "<NOSRV>", 503, "SC"),
    ],
)
def test_refusals_and_client_aborts_never_count_against_an_engine(outcome: Outcome) -> None:
    """4xx, 429, a full queue and a client that hangs up say nothing about the engine."""
    fleet = fleet_of()
    for _ in range(10):
        fleet.finished(outcome, 1.0)
    assert all(found.state is State.READY for found in fleet.snapshot(1.0).engines)


@pytest.mark.parametrize(
    ("status", "termination"), [(500, "--"), (502, "SH"), (503, "SC"), (504, "sH"), (200, "SD"), (502, "LH")]
)
def test_transport_errors_and_5xx_count_against_an_engine(status: int, termination: str) -> None:
    """Refused, broken, timed out, broken in mid-stream, headers that nothing followed, or a 5xx of its own."""
    fleet = fleet_of()
    fail_with = Outcome("r", "a", status, termination)
    for _ in range(3):
        fleet.finished(fail_with, 1.0)
    assert engine(fleet, "a").state is State.EJECTED


def test_a_retry_counts_against_the_engine_that_was_to_serve() -> None:
    """The client got its answer from elsewhere; the chosen engine failed all the same."""
    fleet = fleet_of()
    for index in range(3):
        fleet.finished(Outcome(f"r{index}", "b", 200, retries=1, chosen="a"), 1.0)
    assert engine(fleet, "a").state is State.EJECTED
    assert engine(fleet, "b").state is State.READY


def test_the_last_engine_of_a_model_is_never_ejected() -> None:
    """A doubtful engine beats none; another model's engines do not count."""
    fleet = fleet_of(settings=replace(SETTINGS, engines=(*ENGINES[:2], OTHER)))
    fail(fleet, "a", 3)
    fail(fleet, "b", 30)
    for _ in range(30):
        fleet.probe("b", DOWN, 1.0)
    assert engine(fleet, "b").state is State.SUSPECT
    assert fleet.decide(ask(), 1.0).engine == "b"


@pytest.mark.parametrize("other", ["draining", "ejected", "probing", "starting"])
def test_an_engine_that_gets_no_steady_work_does_not_count_as_another(other: str) -> None:
    """Only an engine that serves without reserve makes room for an ejection."""
    fleet = Fleet(replace(SETTINGS, engines=ENGINES[:2]), 0.0)
    fleet.probe("a", UP, 0.0)
    if other != "starting":
        fleet.probe("b", UP, 0.0)
    if other == "draining":
        fleet.drain("b")
    if other in ("ejected", "probing"):
        fail(fleet, "b", 3)
    if other == "probing":
        fleet.expire(10.0)
    assert engine(fleet, "b").state == other
    fail(fleet, "a", 10)
    assert engine(fleet, "a").state is State.SUSPECT


def test_a_dispatch_elsewhere_without_a_retry_says_nothing_about_the_chosen_engine() -> None:
    """The edge may know better who is up; only a try that failed is a failure."""
    fleet = fleet_of()
    for index in range(5):
        fleet.finished(Outcome(f"r{index}", "b", 200, chosen="a"), 1.0)
    assert engine(fleet, "a").state is State.READY


def test_a_request_that_works_does_not_forgive_failed_probes() -> None:
    """The health check is a witness of its own."""
    fleet = fleet_of()
    fleet.probe("a", DOWN, 1.0)
    fleet.finished(Outcome("r", "a", 200), 1.0)
    assert engine(fleet, "a").state is State.SUSPECT
    fleet.probe("a", UP, 1.0)
    assert engine(fleet, "a").state is State.READY


def test_an_error_answer_forgives_nothing_and_is_not_believed_cached() -> None:
    """The first byte of a 500 is no prefill."""
    fleet = fleet_of(1)
    fail(fleet, "a", 2)
    fleet.decide(ask("r1", prompt_tokens=500), 1.0)
    fleet.begun("r1", "a", 1.0, status=500)
    assert engine(fleet, "a").failures == 2
    assert fleet.decide(ask("r2", prompt_tokens=500), 1.0).uncached_tokens == 500


def test_failed_probes_eject_and_good_ones_bring_back() -> None:
    """`fail_after` failed probes in a row, then `rise_after` good ones; no trial request is needed."""
    fleet = fleet_of()
    for state in (State.SUSPECT, State.SUSPECT, State.EJECTED):
        fleet.probe("a", DOWN, 1.0)
        assert engine(fleet, "a").state is state
    fleet.expire(1000.0)
    assert engine(fleet, "a").state is State.EJECTED
    fleet.probe("a", UP, 1001.0)
    assert engine(fleet, "a").state is State.READY


def test_an_ejected_engine_that_also_stops_answering_probes_is_back_with_them() -> None:
    """Ejected for errors, then gone: what comes back is a new process, which needs no trial."""
    fleet = fleet_of()
    fail(fleet, "a", 3)
    for _ in range(3):
        fleet.probe("a", DOWN, 2.0)
    fleet.probe("a", UP, 3.0)
    assert (engine(fleet, "a").state, engine(fleet, "a").epoch) == (State.READY, 1)


@pytest.mark.parametrize(("termination", "failures"), [("--", 0), ("CD", 0), ("cD", 0), ("DD", 2), ("KD", 2)])
def test_only_an_answer_that_was_not_broken_off_for_the_engine_forgives(termination: str, failures: int) -> None:
    """A stream that the edge ended because the server was marked down proves nothing."""
    fleet = fleet_of()
    fail(fleet, "a", 2)
    fleet.finished(Outcome("r", "a", 200, termination), 1.0)
    assert engine(fleet, "a").failures == failures


def probing(settings: FleetSettings = SETTINGS) -> Fleet:
    """Engine b as it is after an ejection: to be tried once; a is busy, so that b is wanted."""
    fleet = fleet_of(2, settings)
    fail(fleet, "b", 3)
    fleet.decide(ask("busy", key=7, prompt_tokens=100_000), 1.0)
    fleet.expire(6.0)
    return fleet


def test_a_probing_engine_is_tried_with_one_request_at_a_time() -> None:
    """The second request of that moment goes elsewhere."""
    fleet = probing()
    assert fleet.decide(ask("trial", key=2), 6.0).engine == "b"
    assert fleet.decide(ask("next", key=3), 6.0).engine == "a"


def test_a_trial_that_works_brings_the_engine_back() -> None:
    """The first byte is enough."""
    fleet = probing()
    fleet.decide(ask("trial", key=2), 6.0)
    fleet.begun("trial", "b", 6.5)
    assert engine(fleet, "b").state is State.READY


def test_a_trial_that_fails_doubles_the_wait() -> None:
    """Back-off: 5 s, then 10 s, at most a minute."""
    fleet = probing()
    now = 6.0
    for wait in (10.0, 20.0, 40.0, 60.0, 60.0):
        fleet.decide(ask("trial", key=2), now)
        fleet.finished(Outcome("trial", "b", 502, "SH"), now)
        fleet.expire(now + wait - 0.1)
        assert engine(fleet, "b").state is State.EJECTED
        now += wait
        fleet.expire(now)
        assert engine(fleet, "b").state is State.PROBING


def test_a_trial_that_says_nothing_lets_another_try() -> None:
    """A client that hangs up must not keep an engine out."""
    fleet = probing()
    fleet.decide(ask("trial", key=2), 6.0)
    fleet.finished(Outcome("trial", "b", -1, "CH"), 6.0)
    assert fleet.decide(ask("again", key=3), 6.0).engine == "b"


def test_no_request_is_risked_on_an_engine_whose_last_probe_failed() -> None:
    """The back-off is over, but the health check does not answer: no trial until it does."""
    fleet = fleet_of()
    fail(fleet, "a", 3)
    fleet.probe("a", DOWN, 5.0)
    fleet.expire(7.0)
    assert engine(fleet, "a").state is State.EJECTED
    fleet.probe("a", UP, 7.0)
    fleet.expire(8.0)
    assert engine(fleet, "a").state is State.PROBING


def test_a_trial_nobody_hears_of_again_is_forgotten() -> None:
    """A lost event must not keep an engine out until its lease expires."""
    fleet = probing()
    fleet.decide(ask("trial", key=2), 6.0)
    fleet.expire(6.0 + SETTINGS.trial_seconds)
    assert engine(fleet, "b").available


# ------------------------------------------------------------------------------------------------------------ a session


def test_a_session_stays_on_its_engine() -> None:
    """Turn after turn the same engine, and only the new part of the prompt is uncached."""
    fleet = fleet_of()
    first = serve(fleet, ask("r1"))
    second = serve(fleet, ask("r2", prompt_tokens=1300))
    assert (first.why, second.why) == (Why.NEW, Why.HOME)
    assert second.engine == first.engine
    assert second.uncached_tokens == 300


def test_a_session_comes_home_after_a_drain() -> None:
    """A drain is a detour: the home is kept."""
    fleet = fleet_of()
    home = serve(fleet, ask("r1")).engine
    fleet.drain(home)
    away = serve(fleet, ask("r2"))
    fleet.undrain(home)
    back = serve(fleet, ask("r3"))
    assert (away.why, back.why, back.engine) == (Why.DRAIN, Why.HOME, home)
    assert away.engine != home


def test_a_session_comes_home_after_an_ejection_if_its_cache_survived() -> None:
    """Ejected for errors, the process lives on: what it held is still believed."""
    fleet = fleet_of()
    home = serve(fleet, ask("r1", prompt_tokens=100_000)).engine
    fail(fleet, home, 3)
    assert serve(fleet, ask("r2", prompt_tokens=100_000)).why is Why.EJECT
    fleet.expire(10.0)
    back = serve(fleet, ask("r3", prompt_tokens=100_000), 10.0)
    assert (back.engine, back.why, back.uncached_tokens) == (home, Why.HOME, 1)


def test_a_session_stays_away_from_a_restarted_home_when_that_is_cheaper() -> None:
    """A restarted engine holds nothing: where the detour holds a long prompt, that becomes the home."""
    fleet = fleet_of()
    home = serve(fleet, ask("r1", prompt_tokens=100_000)).engine
    for _ in range(3):
        fleet.probe(home, DOWN, 2.0)
    detour = serve(fleet, ask("r2", prompt_tokens=100_000)).engine
    fleet.probe(home, UP, 3.0)
    assert engine(fleet, home).epoch == 1
    spilled = serve(fleet, ask("r3", prompt_tokens=100_000))
    assert (spilled.engine, spilled.why) == (detour, Why.SPILL)
    assert serve(fleet, ask("r4", prompt_tokens=100_000)).why is Why.HOME


@pytest.mark.parametrize(("before", "after", "epoch"), [(1.0, 1.0, 0), (1.0, 2.0, 1), (None, None, 1), (None, 1.0, 1)])
def test_a_cache_counts_as_lost_unless_the_process_is_the_same(
    before: float | None, after: float | None, epoch: int
) -> None:
    """Failed probes usually mean a new process; a start time that did not change proves the old one."""
    fleet = fleet_of()
    fleet.probe("a", Probe(ok=True, epoch_hint=before), 1.0)
    for _ in range(3):
        fleet.probe("a", DOWN, 2.0)
    fleet.probe("a", Probe(ok=True, epoch_hint=after), 3.0)
    assert engine(fleet, "a").epoch == epoch


def test_a_quick_restart_between_two_probes_is_noticed() -> None:
    """Another start time is another process, though no probe failed."""
    fleet = fleet_of()
    for hint in (1.0, 1.0, 2.0):
        fleet.probe("a", Probe(ok=True, epoch_hint=hint), 1.0)
    assert engine(fleet, "a").epoch == 1


def test_a_refused_connection_voids_what_the_engine_held() -> None:
    """Nobody listens: the process is gone, and its cache with it."""
    fleet = fleet_of()
    fail(fleet, "a", 3, termination="SC")
    fleet.expire(10.0)
    fleet.finished(Outcome("r", "a", 200), 10.0)
    assert engine(fleet, "a").epoch == 1


def test_a_first_answer_from_another_engine_makes_that_the_home() -> None:
    """Where a session's first request was really served, its cache is: there it lives."""
    fleet = fleet_of(2)
    chosen = fleet.decide(ask("r1"), 1.0).engine
    other = "b" if chosen == "a" else "a"
    fleet.begun("r1", other, 1.0)
    fleet.finished(Outcome("r1", other, 200), 1.0)
    again = fleet.decide(ask("r2"), 2.0)
    assert (again.engine, again.why, again.uncached_tokens) == (other, Why.HOME, 1)


def test_an_answer_from_another_engine_moves_belief_and_load_but_not_the_home() -> None:
    """The edge retried elsewhere: the server that served holds the prompt, the chosen one does not."""
    fleet = fleet_of(2)
    home = serve(fleet, ask("r0", prompt_tokens=1)).engine
    assert fleet.decide(ask("r1", prompt_tokens=3000), 1.0).engine == home
    other = "b" if home == "a" else "a"
    fleet.begun("r1", other, 1.0)
    assert (engine(fleet, home).in_flight, engine(fleet, other).in_flight) == (0, 1)
    fleet.finished(Outcome("r1", other, 200, retries=1), 1.0)
    again = fleet.decide(ask("r2", prompt_tokens=3000), 2.0)
    assert (again.engine, again.why, again.uncached_tokens) == (other, Why.SPILL, 1)


def test_a_prompt_that_was_never_served_is_not_believed_cached() -> None:
    """The client hung up in the queue: only what was held before counts."""
    fleet = fleet_of(1)
    serve(fleet, ask("r1", prompt_tokens=1000))
    fleet.decide(ask("r2", prompt_tokens=9000), 1.0)
    fleet.finished(Outcome("r2", "a", -1, "CQ"), 1.0)
    assert fleet.decide(ask("r3", prompt_tokens=9000), 1.0).uncached_tokens == 8000


def test_a_drained_fleet_refuses_rather_than_to_use_a_draining_engine() -> None:
    """An operator asked for no new work."""
    fleet = fleet_of(1)
    fleet.drain("a")
    assert engine(fleet, "a").state is State.DRAINING
    with pytest.raises(NoEngine, match="1 draining"):
        fleet.decide(ask(), 1.0)


def test_sessions_are_forgotten_when_unused_or_too_many() -> None:
    """Capacity: the one unused for longest goes first. Time to live: unused for so long is gone."""
    fleet = fleet_of()
    for key in range(1, 6):
        serve(fleet, ask(f"r{key}", key=key), float(key))
    assert fleet.snapshot(5.0).bindings == SETTINGS.bindings_capacity
    assert serve(fleet, ask("x", key=2), 6.0).why is Why.HOME
    assert serve(fleet, ask("y", key=1), 6.0).why is Why.NEW
    assert fleet.decide(ask("z", key=1), 106.0).why is Why.NEW
    fleet.expire(206.0)
    assert fleet.snapshot(206.0).bindings == 0


def test_a_session_that_is_used_is_not_the_first_to_be_forgotten() -> None:
    """Use counts, not age."""
    fleet = fleet_of()
    for index, key in enumerate((1, 2, 3, 4, 1, 5)):
        serve(fleet, ask(f"r{index}", key=key))
    assert serve(fleet, ask("x", key=1)).why is Why.HOME
    assert serve(fleet, ask("y", key=2)).why is Why.NEW


def test_beliefs_are_few_and_never_empty() -> None:
    """The four latest engines; one that holds nothing takes no place."""
    beliefs: tuple[Belief, ...] = ()
    for name in ("a", "b", "c", "d", "e", "c"):
        beliefs = with_belief(beliefs, Belief(name, 0, 10))
    assert [belief.engine for belief in beliefs] == ["c", "e", "d", "b"]
    assert [belief.engine for belief in with_belief(beliefs, Belief("e", 0, 0))] == ["c", "d", "b"]


# --------------------------------------------------------------------------------------------------------------- leases


def test_a_lease_is_given_back_in_two_steps() -> None:
    """The first byte ends the prefill, the end ends the rest."""
    fleet = fleet_of(1)
    fleet.decide(ask(), 1.0)
    assert (engine(fleet, "a").in_flight, engine(fleet, "a").uncached_tokens) == (1, 1000)
    fleet.begun("r", "a", 2.0)
    assert (engine(fleet, "a").in_flight, engine(fleet, "a").uncached_tokens) == (1, 0)
    fleet.finished(Outcome("r", "a", 200), 3.0)
    assert (engine(fleet, "a").in_flight, engine(fleet, "a").uncached_tokens) == (0, 0)


def test_events_of_unknown_requests_are_counted_and_change_no_load() -> None:
    """Twice, late, or from before a restart: counted. What the edge decided or refused alone is no loss."""
    fleet = fleet_of(1)
    serve(fleet, ask())
    fleet.begun("r", "a", 2.0)
    fleet.finished(Outcome("r", "a", 200, chosen="a"), 2.0)
    fleet.finished(Outcome("fallback", "a", 200), 2.0)
    fleet.finished(Outcome("refused", "", 400), 2.0)
    counts = fleet.snapshot(2.0).counts
    assert (counts["begun_unknown"], counts["finished_unknown"]) == (1, 1)
    assert (engine(fleet, "a").in_flight, engine(fleet, "a").uncached_tokens) == (0, 0)


def test_leases_nobody_gives_back_expire() -> None:
    """A lost event costs a while, not for ever."""
    fleet = fleet_of(1)
    fleet.decide(ask(), 1.0)
    fleet.expire(50.9)
    assert fleet.snapshot(50.9).leases == 1
    fleet.expire(51.0)
    assert fleet.snapshot(51.0).counts["leases_expired"] == 1
    assert (engine(fleet, "a").in_flight, engine(fleet, "a").uncached_tokens) == (0, 0)


def test_leases_are_bounded_oldest_first() -> None:
    """One too many costs the oldest its count, never the memory."""
    fleet = fleet_of(1)
    for index in range(7):
        fleet.decide(ask(f"r{index}"), 1.0)
    snapshot = fleet.snapshot(1.0)
    assert (snapshot.leases, snapshot.counts["leases_evicted"]) == (5, 2)
    assert engine(fleet, "a").in_flight == 5


def test_a_request_id_used_twice_holds_one_lease() -> None:
    """Clients choose ids: the later request takes the place of the earlier."""
    fleet = fleet_of(1)
    fleet.decide(ask("same"), 1.0)
    fleet.decide(ask("same"), 1.0)
    assert fleet.snapshot(1.0).counts["leases_replaced"] == 1
    assert engine(fleet, "a").in_flight == 1


# ------------------------------------------------------------------------------------------------------------ the rest


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_verbs_name_an_engine_that_is_not_there(verb: str) -> None:
    """A typing mistake of an admin is an error, not silence."""
    with pytest.raises(UnknownEngine, match="engine-x"):
        getattr(fleet_of(), verb)("engine-x")


@pytest.mark.parametrize(("seen", "kept"), [(0.5, 0.5), (7.0, 1.0), (-1.0, 0.0), (float("nan"), 0.0), (None, 0.0)])
def test_kv_usage_is_kept_within_reason(seen: float | None, kept: float) -> None:
    """What a scrape says is not trusted further than 0…1."""
    fleet = fleet_of()
    fleet.probe("a", Probe(ok=True, kv_usage=seen), 1.0)
    assert engine(fleet, "a").kv_usage == kept


def test_new_settings_keep_what_stays() -> None:
    """Engines that stay keep health, load and sessions; one that goes takes only its own sessions with it."""
    fleet = fleet_of()
    homes = {key: fleet.decide(ask(f"r{key}", key=key), 1.0).engine for key in (1, 2, 3)}
    gone = homes[1]
    left = tuple(wanted for wanted in ENGINES if wanted.name != gone)
    fleet.configure(replace(SETTINGS, engines=(*left, OTHER)))
    assert engine(fleet, "z").state is State.STARTING
    for key, home in homes.items():
        choice = fleet.decide(ask(f"s{key}", key=key), 1.0)
        assert choice.why is (Why.NEW if home == gone else Why.HOME)
    for request_id in ("r1", "r2", "r3", "s1", "s2", "s3"):
        fleet.finished(Outcome(request_id, gone, 502, "SH", retries=1, chosen=gone), 1.0)
    assert all((found.in_flight, found.uncached_tokens) == (0, 0) for found in fleet.snapshot(1.0).engines)


@pytest.mark.parametrize("how", ["moved", "left and came back"])
def test_another_engine_of_the_same_name_holds_nothing_of_what_the_old_one_held(how: str) -> None:
    """A name is not a cache: what was believed of the old engine is void."""
    fleet = fleet_of(1)
    serve(fleet, ask("r1", prompt_tokens=5000))
    elsewhere = replace(SETTINGS, engines=(replace(ENGINES[0], url="http://127.0.0.1/moved"),))
    if how == "left and came back":
        fleet.configure(replace(SETTINGS, engines=(OTHER,)))
        elsewhere = replace(SETTINGS, engines=ENGINES[:1])
    fleet.configure(elsewhere)
    fleet.probe("a", UP, 2.0)
    assert fleet.decide(ask("r2", prompt_tokens=5000), 2.0).uncached_tokens == 5000
