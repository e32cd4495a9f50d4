"""What the edge served while the router was silent."""

from dataclasses import replace

import pytest

from router.fleet import FleetSettings
from router.pick import Why
from tests.support.fleets import SETTINGS, UP, ask, fleet_of, serve

BLOCKS = tuple(range(100, 110))
UNINDEXED = replace(SETTINGS, index_enabled=False)


@pytest.mark.parametrize("settings", [SETTINGS, UNINDEXED])
@pytest.mark.parametrize(("told", "why"), [(True, Why.HOME), (False, Why.SPILL)])
def test_a_session_that_grew_while_the_router_was_silent_goes_home(
    settings: FleetSettings, told: bool, why: Why
) -> None:
    """Its home is busy, but holds all that was said there in between: only what is new must be computed."""
    fleet = fleet_of(settings=settings)
    home = serve(fleet, ask("r1", prompt_tokens=500, blocks=BLOCKS[:1])).engine
    if told:
        fleet.served_alone("1", home, 4900, 2.0)
    fleet.foreign(home, 4000, 1)
    choice = fleet.decide(ask("r2", prompt_tokens=5000, blocks=BLOCKS), 3.0)
    assert (choice.why, choice.uncached_tokens) == (why, 100 if told else 5000)


def test_a_session_that_was_never_seen_is_at_home_where_it_was_served() -> None:
    """A router that has just started hears what became of the requests before it."""
    fleet = fleet_of()
    for name in ("c", "a", "b"):
        fleet.served_alone("1", name, 400, 1.0)
    choice = fleet.decide(ask(), 2.0)
    assert (choice.engine, choice.why, choice.uncached_tokens) == ("b", Why.HOME, 600)


def test_a_session_is_told_of_once() -> None:
    """From the first decision on, its binding knows better."""
    fleet = fleet_of()
    fleet.served_alone("1", "b", 400, 1.0)
    serve(fleet, ask("r1"), 2.0)
    fleet.drain("b")
    away = serve(fleet, ask("r2"), 3.0).engine
    fleet.undrain("b")
    assert serve(fleet, ask("r3", prompt_tokens=1100), 4.0).engine == "b" != away


def test_nothing_is_believed_of_a_cache_that_was_lost_since() -> None:
    """The engine was restarted after it had served the session."""
    fleet = fleet_of()
    fleet.served_alone("1", "b", 400, 1.0)
    for hint in (1.0, 2.0):
        fleet.probe("b", replace(UP, epoch_hint=hint), 1.5)
    assert fleet.decide(ask(), 2.0).why is Why.NEW


def test_an_engine_that_is_gone_or_unknown_is_nobodys_home() -> None:
    """The edge may know engines of yesterday."""
    fleet = fleet_of()
    fleet.served_alone("1", "nobody", 400, 1.0)
    fleet.served_alone("2", "c", 400, 1.0)
    fleet.configure(replace(SETTINGS, engines=SETTINGS.engines[:2]))
    assert {fleet.decide(ask(key=key), 2.0).why for key in (1, 2)} == {Why.NEW}


def test_one_name_under_two_models_is_two_sessions() -> None:
    """The edge keeps a table for each model."""
    fleet = fleet_of()
    fleet.served_alone("1", "b", 400, 1.0)
    fleet.configure(replace(SETTINGS, engines=(*SETTINGS.engines, replace(SETTINGS.engines[0], name="z", model="o"))))
    fleet.probe("z", UP, 1.0)
    assert fleet.decide(ask(model="o"), 2.0).why is Why.NEW
    assert fleet.decide(ask(), 2.0).engine == "b"


def test_what_is_heard_is_bounded_and_is_forgotten() -> None:
    """At most as many sessions as there may be bindings, for as long."""
    fleet = fleet_of()
    for stick in range(1, 6):
        fleet.served_alone(str(stick), "b", 400, float(stick))
    assert fleet.decide(ask(key=1), 6.0).why is Why.NEW  # four have room
    fleet.expire(2.0 + 100.0)
    fleet.probe("b", UP, 102.0)
    assert fleet.decide(ask(key=2), 102.5).why is Why.NEW
    assert fleet.decide(ask(key=5), 102.5).why is Why.HOME
