"""An engine is alive while it advances."""

from dataclasses import replace

import pytest

from router.errors import UnknownEngine
from router.fleet import Fleet, FleetSettings, Outcome, Probe, State
from router.pick import Why
from tests.support.fleets import DOWN, SETTINGS, UP, ask, engine, fail, fleet_of, serve

STALL = SETTINGS.stall_seconds
TIMED_OUT = Probe(ok=False, waited_seconds=2.0)


def seen(*counters: float, busy: float = 1.0) -> Probe:
    """A good probe that shows these counters."""
    return Probe(ok=True, progress=counters, busy=busy)


def working(count: int = 3, settings: FleetSettings = SETTINGS, prompt_tokens: int = 100) -> tuple[Fleet, str]:
    """A fleet whose engines show counters, with one request since second 1 at the engine whose name is returned."""
    fleet = fleet_of(count, settings)
    for found in settings.engines[:count]:
        fleet.probe(found.name, seen(0.0), 0.0)
    return fleet, fleet.decide(ask("r", prompt_tokens=prompt_tokens), 1.0).engine


def watch(fleet: Fleet, since: float, until: float) -> None:
    """Let time pass as it does for a router that runs: its timer looks every second."""
    at = since
    while at < until:
        fleet.expire(at)
        at += 1.0
    fleet.expire(until)


# ------------------------------------------------------------------------------------------------------ standing still


def test_an_engine_that_stands_still_under_a_request_is_ejected_though_it_answers_its_health_check() -> None:
    """A frozen engine says 200: no counter moved, no first byte and no end came for `stall_seconds`."""
    fleet, name = working()
    for at in (2.0, 3.0, 4.0, 1.0 + STALL - 0.1):
        fleet.probe(name, seen(0.0), at)
        assert engine(fleet, name).state is State.READY
    fleet.probe(name, seen(0.0), 1.0 + STALL)
    found = engine(fleet, name)
    assert (found.state, found.stalled, found.ejections, found.eject_reason) == (State.EJECTED, True, 1, "stalled")
    assert fleet.decide(ask("next"), 6.0).engine != name


def test_time_alone_finds_an_engine_that_stands_still() -> None:
    """Probes may take their time: the timer looks, too."""
    fleet, name = working()
    watch(fleet, 1.0, 1.0 + STALL)
    assert engine(fleet, name).state is State.EJECTED


def test_whoever_looks_between_two_ticks_finds_it_at_once() -> None:
    """As soon as it has stood still for long enough, and not a second later."""
    fleet, name = working()
    watch(fleet, 1.0, STALL)
    fleet.watch(0.9 + STALL)
    assert engine(fleet, name).state is State.READY
    fleet.watch(1.0 + STALL)
    assert engine(fleet, name).state is State.EJECTED
    assert fleet.take_ejected() == [name]


def test_time_in_which_the_router_itself_was_stopped_is_nobodys_standing_still() -> None:
    """It heard of no first byte and no end, and looked at no counter: that says nothing about the engines."""
    fleet, name = working()
    watch(fleet, 1.0, 3.0)
    watch(fleet, 30.0, 30.0 + STALL - 2.1)
    assert engine(fleet, name).state is State.READY
    watch(fleet, 30.0 + STALL - 2.0, 30.0 + STALL)
    assert engine(fleet, name).state is State.EJECTED


def test_a_probe_may_be_the_first_to_look_after_the_router_was_stopped() -> None:
    """Which of the two comes first is chance."""
    fleet, name = working()
    fleet.probe(name, seen(0.0), 30.0)
    assert engine(fleet, name).state is State.READY


@pytest.mark.parametrize("sign", ["counter", "first byte", "end"])
def test_any_sign_of_progress_starts_the_wait_anew(sign: str) -> None:
    """Tokens of others, a first byte or a clean end: something is computed there."""
    fleet, name = working()
    fleet.decide(ask("other", key=1, prompt_tokens=100), 1.0)
    watch(fleet, 1.0, 3.0)
    if sign == "counter":
        fleet.probe(name, seen(1.0), 4.0)
    elif sign == "first byte":
        fleet.begun("other", name, 4.0)
    else:
        fleet.finished(Outcome("other", name, 200), 4.0)
    watch(fleet, 5.0, 4.0 + STALL - 0.1)
    assert engine(fleet, name).state is State.READY
    fleet.expire(4.0 + STALL)
    assert engine(fleet, name).state is State.EJECTED


def test_a_client_that_leaves_a_stream_is_no_progress() -> None:
    """Streams that hang end one after the other because their clients give up."""
    fleet, name = working()
    fleet.decide(ask("left", key=1, prompt_tokens=100), 1.0)
    watch(fleet, 1.0, 3.0)
    fleet.finished(Outcome("left", name, 200, "CD"), 4.0)
    watch(fleet, 4.0, 1.0 + STALL)
    assert engine(fleet, name).state is State.EJECTED


def test_an_idle_engine_never_stands_still() -> None:
    """Without work, nothing need advance; the wait begins with the request, not with the last one before it."""
    fleet = fleet_of()
    name = serve(fleet, ask("r1"), 1.0).engine
    fleet.probe(name, seen(0.0), 1.0)
    for at in range(2, 100):
        fleet.probe(name, seen(0.0), float(at))
        fleet.expire(float(at))
    fleet.decide(ask("r2"), 100.0)
    fleet.expire(100.0 + STALL - 0.1)
    assert engine(fleet, name).state is State.READY


def test_an_engine_that_shows_no_counters_is_not_judged_by_them() -> None:
    """What cannot be read is unknown, not frozen."""
    fleet = fleet_of()
    name = fleet.decide(ask("r"), 1.0).engine
    for at in range(2, 60):
        fleet.probe(name, UP, float(at))
        fleet.expire(float(at))
    assert engine(fleet, name).state is State.READY


def test_a_long_prompt_may_take_as_long_as_it_takes() -> None:
    """Some engines count a prompt's tokens only when all are computed: twice its time is granted."""
    fleet, name = working(prompt_tokens=80_000)  # ten seconds
    watch(fleet, 1.0, 20.9)
    assert engine(fleet, name).state is State.READY
    fleet.expire(21.0)
    assert engine(fleet, name).state is State.EJECTED


def test_a_request_whose_end_was_lost_does_not_make_an_idle_engine_look_frozen() -> None:
    """It has had its first byte, and the engine says that it has nothing to do."""
    fleet, name = working()
    fleet.begun("r", name, 1.5)
    fleet.probe(name, seen(0.0, busy=0.0), 2.0)
    watch(fleet, 2.0, 50.0)
    assert engine(fleet, name).state is State.READY


def test_an_engine_where_the_edge_has_nobody_is_not_judged() -> None:
    """Requests that the edge does not know of are lost events, not work."""
    fleet, name = working()
    watch(fleet, 1.0, 4.5)
    fleet.reconcile(name, 0, 4.9)
    fleet.expire(1.0 + STALL)
    assert engine(fleet, name).state is State.READY
    watch(fleet, 6.0, 8.5)  # the edge's socket is gone: what it said last is no news any more
    assert engine(fleet, name).state is State.EJECTED


def test_the_last_engine_is_not_ejected_for_standing_still() -> None:
    """A doubtful engine beats none; that it stands still is shown, and forgotten when it advances."""
    fleet, name = working(1)
    watch(fleet, 1.0, 1.0 + STALL)
    assert (engine(fleet, name).state, engine(fleet, name).stalled) == (State.SUSPECT, True)
    fleet.probe(name, seen(0.0), 7.0)
    assert engine(fleet, name).state is State.SUSPECT
    fleet.probe(name, seen(1.0), 8.0)
    assert (engine(fleet, name).state, engine(fleet, name).stalled) == (State.READY, False)


def test_nothing_is_ejected_for_standing_still_when_that_is_switched_off() -> None:
    """0 is never."""
    fleet, name = working(settings=replace(SETTINGS, stall_seconds=0.0))
    watch(fleet, 1.0, 40.0)
    assert engine(fleet, name).state is State.READY


def test_an_engine_that_still_stands_still_fails_its_trial() -> None:
    """Its health check answers all the time: the one request it is tried with must advance, and the wait doubles."""
    fleet, name = working(2)
    watch(fleet, 1.0, 5.0)
    watch(fleet, 6.0, 10.0)
    assert engine(fleet, name).state is State.PROBING
    other = "b" if name == "a" else "a"
    fleet.drain(other)
    assert fleet.decide(ask("trial"), 10.0).engine == name
    fleet.undrain(other)
    watch(fleet, 10.0, 10.0 + STALL - 0.1)
    assert engine(fleet, name).state is State.PROBING
    fleet.expire(10.0 + STALL)
    assert engine(fleet, name).state is State.EJECTED
    watch(fleet, 10.0 + STALL, 10.0 + STALL + 9.9)
    assert engine(fleet, name).state is State.EJECTED


# ------------------------------------------------------------------------------------------------- probes that time out


def test_a_stopped_process_is_ejected_by_two_probes_that_timed_out() -> None:
    """Neither health nor metrics answer, and nothing came while they were waited for."""
    fleet, name = working(settings=replace(SETTINGS, probe_fail_after=2))
    watch(fleet, 1.0, 3.0)
    fleet.probe(name, TIMED_OUT, 3.5)
    assert engine(fleet, name).state is State.SUSPECT
    fleet.probe(name, Probe(ok=False, waited_seconds=1.0), 4.7)
    assert (engine(fleet, name).state, engine(fleet, name).eject_reason) == (State.EJECTED, "probes failed")


def test_a_probe_that_timed_out_while_first_bytes_came_tells_of_a_busy_engine() -> None:
    """It is slow to say so, but it works."""
    fleet, name = working()
    for at in range(2, 22, 2):
        fleet.decide(ask(f"r{at}", prompt_tokens=100), float(at))
        fleet.begun(f"r{at}", name, at + 1.5)
        fleet.probe(name, TIMED_OUT, at + 2.0)
    assert (engine(fleet, name).state, engine(fleet, name).probe_failures) == (State.READY, 0)


def test_a_probe_that_was_refused_counts_whatever_came_before() -> None:
    """Nobody listens: that is no question of time."""
    fleet, name = working()
    fleet.begun("r", name, 2.0)
    fleet.probe(name, DOWN, 2.0)
    assert engine(fleet, name).probe_failures == 1


# ------------------------------------------------------------------------------------------------------ telling of them


def test_ejections_are_told_once_and_in_order() -> None:
    """Whoever ends the requests that wait there asks for the names."""
    fleet = fleet_of()
    fail(fleet, "b", 3)
    for _ in range(3):
        fleet.probe("a", DOWN, 1.0)
    assert fleet.take_ejected() == ["b", "a"]
    assert fleet.take_ejected() == []


def test_ejections_nobody_asks_for_are_bounded() -> None:
    """An engine that flaps for a year fills no memory."""
    fleet = fleet_of(2)
    now = 0.0
    for _ in range(1100):
        for _ in range(3):
            fleet.probe("a", DOWN, now)
        now += 100.0
        fleet.probe("a", UP, now)
    assert len(fleet.take_ejected()) == 1000
    assert engine(fleet, "a").ejections == 1100


# ----------------------------------------------------------------------------------------------------------- slow start


def returned(settings: FleetSettings = SETTINGS) -> Fleet:
    """Engine a was out and is back since second 10."""
    fleet = fleet_of(settings=settings)
    for _ in range(3):
        fleet.probe("a", DOWN, 1.0)
    fleet.probe("a", UP, 10.0)
    return fleet


def test_what_waits_at_an_engine_that_was_ejected_counts_for_more_at_first() -> None:
    """Five times, then less, then once: it fills up slowly. Empty, it costs what it always does."""
    fleet = returned()
    for name in ("b", "c"):
        fleet.drain(name)
    costs = []
    for at in (10.0, 25.0, 40.0, 1000.0):
        fleet.expire(at)
        fleet.foreign("a", 0, 0)
        empty = fleet.decide(ask("r", key=int(at), prompt_tokens=800), at).cost_seconds
        fleet.finished(Outcome("r", "a", -1, "CH"), at)
        fleet.foreign("a", 2400, 1)
        busy = fleet.decide(ask("r", key=int(at) + 1, prompt_tokens=800), at).cost_seconds
        fleet.finished(Outcome("r", "a", -1, "CH"), at)
        costs.append((empty, busy))
    assert costs == [pytest.approx(each) for each in ((0.1, 1.6), (0.1, 0.6), (0.1, 0.4), (0.1, 0.4))]


def test_a_session_comes_home_to_an_engine_that_was_restarted() -> None:
    """One that is back and empty is as good as ever for a prompt within the gate."""
    fleet = fleet_of(2)
    home = serve(fleet, ask("r1", prompt_tokens=1500)).engine
    for _ in range(3):
        fleet.probe(home, DOWN, 1.0)
    assert serve(fleet, ask("r2", prompt_tokens=1500)).engine != home
    fleet.probe(home, UP, 2.0)
    assert engine(fleet, home).slow_start_share == pytest.approx(0.2)
    assert serve(fleet, ask("r3", prompt_tokens=1500), 2.0).engine == home


def test_a_session_that_finds_its_home_busy_warming_up_comes_home_later() -> None:
    """Everybody comes back in one moment: who is sent on is on a detour, not moved."""
    fleet = fleet_of(2)
    home = serve(fleet, ask("r1", prompt_tokens=1500)).engine
    for _ in range(3):
        fleet.probe(home, DOWN, 1.0)
    fleet.probe(home, UP, 2.0)
    fleet.foreign(home, 1000, 1)
    assert serve(fleet, ask("r2", prompt_tokens=1500), 2.0).why is Why.SPILL
    fleet.foreign(home, 0, 0)
    assert serve(fleet, ask("r3", prompt_tokens=1500), 3.0).engine == home


def test_an_engine_that_is_warming_up_is_full_sooner() -> None:
    """A fifth of the work that it may have later."""
    fleet = returned(replace(SETTINGS, max_wait_seconds=1.0))
    fleet.foreign("a", 2000, 1)
    assert engine(fleet, "a").full
    fleet.expire(40.0)
    assert not engine(fleet, "a").full


def test_an_engine_that_was_restarted_quickly_comes_back_slowly() -> None:
    """Another process warms up anew, though no probe failed."""
    fleet = fleet_of()
    for hint in (1.0, 2.0):
        fleet.probe("a", Probe(ok=True, epoch_hint=hint), 5.0)
    assert engine(fleet, "a").slow_start_share == pytest.approx(0.2)
    assert engine(fleet, "b").slow_start_share == 1.0


def test_a_fleet_that_starts_does_not_start_slowly() -> None:
    """The router is new, not the engines, however long their first probes took."""
    fleet = Fleet(SETTINGS, 0.0)
    for probe in (DOWN, DOWN, DOWN, Probe(ok=True, epoch_hint=1.0), UP):
        fleet.probe("a", probe, 1.0)
    assert engine(fleet, "a").slow_start_share == 1.0


def test_slow_start_can_be_switched_off() -> None:
    """0 is at once."""
    assert engine(returned(replace(SETTINGS, slow_start_seconds=0.0)), "a").slow_start_share == 1.0


# --------------------------------------------------------------------------------------------------------------- reload


def test_an_ejected_engine_that_is_left_alone_by_new_settings_is_given_work() -> None:
    """The sound ones were taken out of the configuration: a doubtful engine beats none."""
    fleet = fleet_of(2)
    fail(fleet, "a", 3)
    fleet.configure(replace(SETTINGS, engines=SETTINGS.engines[:1]))
    assert engine(fleet, "a").state is State.SUSPECT
    assert fleet.decide(ask(), 2.0).engine == "a"


def test_a_probe_of_an_engine_that_is_gone_is_an_error() -> None:
    """Only a prober that was not told can ask."""
    with pytest.raises(UnknownEngine):
        fleet_of().probe("gone", UP, 1.0)
