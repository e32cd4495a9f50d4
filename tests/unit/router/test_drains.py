"""Whose drain holds where a router and its edge differ."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drains import GPU, OPERATOR, Drain, drain_for, settled
from tests.support.keepers import NAMES, Router, routers

NONE, FAULT, PERSON = Drain.NONE, Drain.FAULT, Drain.OPERATOR
ORDERS = st.sampled_from(["drain", "undrain", "fault", "mended"])


@pytest.mark.parametrize(
    ("agreed", "ours", "theirs", "holds"),
    [
        (None, NONE, FAULT, FAULT),  # I am new
        (None, FAULT, NONE, FAULT),  # it is
        (None, PERSON, FAULT, PERSON),
        (FAULT, FAULT, NONE, NONE),  # another router, or a person, ended it
        (FAULT, NONE, FAULT, NONE),  # I did
        (FAULT, FAULT, PERSON, PERSON),  # a person took it over elsewhere
        (FAULT, PERSON, FAULT, PERSON),  # and here
        (FAULT, NONE, PERSON, PERSON),  # while the fault ended
        (FAULT, PERSON, NONE, PERSON),
        (PERSON, PERSON, NONE, NONE),  # a person let it work elsewhere
        (PERSON, NONE, PERSON, NONE),  # and here
        (PERSON, NONE, FAULT, FAULT),  # and there was a fault at once
        (NONE, NONE, FAULT, FAULT),
        (NONE, FAULT, NONE, FAULT),
        (NONE, FAULT, PERSON, PERSON),
    ],
)
def test_what_changed_holds_and_of_two_changes_the_greater(
    agreed: Drain | None, ours: Drain, theirs: Drain, holds: Drain
) -> None:
    """The cases that docs/operations/drain.md tells."""
    assert settled(agreed, ours, theirs) is holds


@pytest.mark.parametrize(("agreed", "ours", "theirs"), [*itertools.product([None, *Drain], Drain, Drain)])
def test_what_holds_is_what_somebody_wants_and_a_persons_new_drain_always(
    agreed: Drain | None, ours: Drain, theirs: Drain
) -> None:
    """Nothing is made up, agreement stays, and no drain of a person is lost to anything but the end of it."""
    holds = settled(agreed, ours, theirs)
    assert holds in {ours, theirs}
    assert settled(agreed, theirs, ours) is holds
    if PERSON in {ours, theirs} and agreed is not PERSON:
        assert holds is PERSON


@pytest.mark.parametrize(("reason", "drain"), [("", NONE), (GPU, FAULT), (OPERATOR, PERSON), ("other", FAULT)])
def test_reasons_are_ranked(reason: str, drain: Drain) -> None:
    """What is neither nobody's nor a person's was ordered by a router."""
    assert drain_for(reason) is drain
    assert drain_for(drain.reason) is drain


def agree(*found: Router) -> None:
    """Let them look twice, in this order."""
    for router in [*found, *found]:
        router.step()


def order(router: Router, name: str, what: str) -> None:
    fleet = router.fleet
    if what == "fault":
        fleet.drain(name, GPU)
    elif what == "mended":
        fleet.undrain(name, GPU)
    else:
        router.set(name, drained=what == "drain")


def after(state: Drain, what: str) -> Drain:
    """What one person and one watcher, who see each other's orders, bring about."""
    if what == "drain":
        return PERSON
    if what == "undrain":
        return NONE
    return state if state is PERSON else FAULT if what == "fault" else NONE


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(NAMES), ORDERS, st.sampled_from("-0rle")), max_size=15))
def test_any_routers_order_has_the_same_end_as_if_there_were_one(orders: list[tuple[int, str, str, str]]) -> None:
    """Each order heard before the next; the router that gave it, the other, or the edge is restarted in between.

    Which router orders, ends or adopts makes no difference to what is drained, and for whom.
    """
    edge, found = routers(2)
    wanted = dict.fromkeys(NAMES, NONE)
    for at, name, what, restarted in orders:
        order(found[at], name, what)
        wanted[name] = after(wanted[name], what)
        agree(found[at], *found)
        if restarted == "e":
            edge.restart()
        elif restarted in "rl":
            found[at if restarted == "r" else 1 - at].restart()
        agree(*found)
        assert edge.drains == wanted
        assert [router.drains() for router in found] == [wanted, wanted]


@given(st.lists(st.tuples(st.sampled_from("01er"), st.sampled_from(NAMES), ORDERS, st.booleans()), max_size=20))
def test_no_fault_and_no_end_of_one_undoes_a_persons_order_on_its_way(
    events: list[tuple[str, str, str, bool]],
) -> None:
    """A person's orders are heard before the next; those of watchers cross them, and each other, and restarts.

    Who is drained by hand stays so; nobody is left with another view, and nothing swings. Who lets an engine work again
    by hand is obeyed, unless the edge was restarted in that second: then another router's drain may come back.
    """
    edge, found = routers(2)
    by_hand, restarted = dict.fromkeys(NAMES, False), False
    for who, name, what, swapped in events:
        if who == "r":
            edge.restart()
            restarted = True
        elif who == "e":
            by_hand[name] = what == "drain"
            edge.set(name, drained=by_hand[name])
        else:
            by_hand[name] = what == "drain" or (by_hand[name] and what != "undrain")
            order(found[int(who)], name, what)
        if who != "r" and (who == "e" or what in {"drain", "undrain"}):
            agree(*reversed(found) if swapped else found)
    agree(*found)
    assert [router.drains() for router in found] == [edge.drains, edge.drains]
    assert all(edge.drains[name] is PERSON for name in NAMES if by_hand[name])
    assert restarted or all(edge.drains[name] is not PERSON for name in NAMES if not by_hand[name])
    orders = len(edge.orders)
    agree(*found)
    assert len(edge.orders) == orders
