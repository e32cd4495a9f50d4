"""Routers and their edge become of one mind about drains, whoever changed what; and who is out is relieved once."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drains import GPU, Drain
from router.edge import EdgeKeeper
from router.edge_metrics import EdgeMetrics
from router.edge_text import EdgeView
from router.fleet import Outcome, Probe, State
from router.parse import Ask
from router.sever import Severed
from tests.support.keepers import NAMES, PAIR, Clock, Edge, Router, fleet_of, routers
from tests.support.until import until


def agreed(edge: Edge, *found: Router) -> dict[str, bool]:
    """What all of them hold, if they are of one mind."""
    assert all(router.drains() == edge.drains for router in found)
    return edge.drained()


def test_a_drain_reaches_the_edge_and_every_other_router() -> None:
    """Set at any router: a second later it holds at the edge, another second later everywhere; so does its end."""
    edge, (one, two) = routers(2)
    one.step()
    two.step()
    for drained in (True, False):
        one.set("a", drained=drained)
        one.step()
        two.step()
        assert agreed(edge, one, two) == {"a": drained, "b": False}


def test_a_drain_survives_the_router_and_the_edge() -> None:
    """A new router learns it from the edge; a new edge is told by the router."""
    edge, (one,) = routers()
    one.set("a", drained=True)
    one.step()
    one.restart()
    one.step()
    assert agreed(edge, one) == {"a": True, "b": False}
    edge.restart()
    one.step()
    assert agreed(edge, one) == {"a": True, "b": False}


def test_an_order_at_the_edge_itself_is_adopted() -> None:
    """An operator at HAProxy's socket is heard, draining and undraining."""
    edge, (one,) = routers()
    for drained in (True, False):
        edge.set("b", drained=drained)
        one.step()
        assert agreed(edge, one) == {"a": False, "b": drained}


class Late(Edge):
    """Somebody at the edge's own socket is quicker than who has just looked."""

    def __init__(self) -> None:
        super().__init__()
        self.order: Drain | None = None

    async def look(self) -> EdgeView:
        found = await super().look()
        if self.order is not None:
            self.drains["a"], self.order = self.order, None
        return found


def test_an_operators_drain_is_not_lost_to_the_end_of_a_fault_that_was_seen_before_it() -> None:
    """Whoever pushes less than an operator's order looks once more before it does."""
    edge = Late()
    one = Router(edge, Clock())
    one.fleet.drain("a", GPU)
    one.step()
    assert edge.drains == {"a": Drain.FAULT, "b": Drain.NONE}
    one.fleet.undrain("a", GPU)
    edge.order = Drain.OPERATOR
    one.step()
    assert edge.drains == one.drains() == {"a": Drain.OPERATOR, "b": Drain.NONE}


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(NAMES), st.booleans(), st.booleans()), max_size=12))
def test_the_last_order_holds_wherever_it_was_given(orders: list[tuple[int, str, bool, bool]]) -> None:
    """Any orders at two routers and the edge, each heard before the next: all agree on the last one of each engine.

    Restarts of routers and edge in between change nothing.
    """
    edge, found = routers(2)
    wanted = dict.fromkeys(NAMES, False)
    for place, name, drained, restarted in orders:
        for router in [*found, *found]:
            router.step()
        wanted[name] = drained
        if place == 2:
            edge.set(name, drained=drained)
        else:
            found[place].set(name, drained=drained)
        for router in [*found, *found]:
            router.step()
        if restarted:
            edge.restart() if place == 2 else found[place].restart()
    for router in [*found, *found]:
        router.step()
    assert agreed(edge, *found) == wanted


@given(st.lists(st.tuples(st.sampled_from("01er"), st.sampled_from(NAMES), st.booleans()), max_size=20))
def test_whatever_happens_at_once_they_agree_in_the_end(events: list[tuple[str, str, bool]]) -> None:
    """Orders that cross each other may lose, but nobody is left with another view, and nothing swings."""
    edge, found = routers(2)
    for who, name, drained in events:
        if who == "e":
            edge.set(name, drained=drained)
        elif who == "r":
            edge.restart()
        else:
            found[int(who)].set(name, drained=drained)
            found[int(who)].step()
    for router in [*found, *found]:
        router.step()
    settled = dict(agreed(edge, *found))
    orders = len(edge.orders)
    found[0].step()
    assert agreed(edge, *found) == settled
    assert len(edge.orders) == orders


def test_orders_are_given_only_on_a_difference() -> None:
    """Agreed once, HAProxy hears nothing more."""
    edge, (one,) = routers()
    one.set("a", drained=True)
    for _ in range(5):
        one.step()
    assert edge.orders == ["operator a"]


def test_an_engine_that_the_edge_does_not_know_is_none_of_its_business() -> None:
    """While a new configuration is on its way to the edge, drains of new engines are the router's alone."""
    edge, clock = Edge(), Clock()
    fleet = fleet_of("new", *NAMES)
    keeper = EdgeKeeper(fleet, edge, lambda: dict.fromkeys(("new", "left", *NAMES), "model-m"), clock)
    fleet.drain("new")
    asyncio.run(keeper.step())
    assert edge.orders == []
    assert next(engine for engine in fleet.snapshot(0.0).engines if engine.name == "new").draining


def test_leases_that_the_edge_does_not_count_are_given_back() -> None:
    """Nothing at the engine for a while: what was held there goes."""
    _, (one,) = routers()
    one.fleet.decide(Ask("r", "m", 1, "1", "user", "-", 1000, stream=False), 0.0)
    held = {engine.in_flight for engine in one.fleet.snapshot(0.0).engines}
    assert held == {0, 1}
    for _ in range(10):
        one.step()
    assert one.fleet.snapshot(0.0).leases == 0


def test_requests_that_the_router_carries_may_be_any_engines() -> None:
    """The edge counts those at the router, so they explain as many leases as there are."""
    edge, (one,) = routers()
    for number in range(2):
        one.fleet.decide(Ask(f"r{number}", "m", 1, "1", "user", "-", 1000, stream=False), 0.0)
    edge.carried = 2
    for _ in range(10):
        one.step()
    assert held(one) == 2
    edge.carried = 1
    for _ in range(100):
        one.step()
    assert held(one) == 1


def held(router: Router) -> int:
    return router.fleet.snapshot(router.clock()).leases


def test_streams_that_an_old_process_of_the_edge_finishes_keep_their_leases() -> None:
    """After a reload the new process counts its own requests only: who drains an engine must still see the others."""
    edge, (one,) = routers()
    chosen = one.fleet.decide(Ask("r", "m", 1, "1", "user", "-", 1000, stream=False), 0.0).engine
    edge.sessions[chosen] = 1
    for _ in range(10):
        one.step()
    edge.restart()
    edge.sessions[chosen] = 0
    for _ in range(30):
        one.step()
    assert held(one) == 1
    # A request that the old process took meanwhile, on a connection that it kept.
    one.fleet.decide(Ask("s", "m", 1, "1", "user", "-", 1000, stream=False), one.clock())
    for _ in range(30):
        one.step()
    assert held(one) == 2
    one.fleet.finished(Outcome("r", chosen, 200), one.clock())
    assert held(one) == 1


def test_leases_that_died_with_the_edge_are_given_back_once_the_engine_is_idle() -> None:
    """A process that was killed tells of nobody's end; the engine's own word that it does nothing is enough."""
    edge, (one,) = routers()
    chosen = one.fleet.decide(Ask("r", "m", 1, "1", "user", "-", 1000, stream=False), 0.0).engine
    edge.sessions[chosen] = 1
    one.step()
    edge.restart()
    edge.sessions[chosen] = 0
    one.fleet.probe(chosen, Probe(ok=True, busy=1.0), one.clock())
    for _ in range(10):
        one.step()
    assert held(one) == 1
    one.fleet.probe(chosen, Probe(ok=True, busy=0.0), one.clock())
    for _ in range(3):
        one.step()
    assert held(one) == 0


def test_old_processes_of_the_edge_matter_for_a_while_only() -> None:
    """What is taken long after a reload is the new process's, which counts it."""
    edge, (one,) = routers()
    one.step()
    edge.restart()
    one.step()
    one.clock.now += 400.0
    one.step()
    one.fleet.decide(Ask("r", "m", 1, "1", "user", "-", 1000, stream=False), one.clock())
    for _ in range(10):
        one.step()
    assert held(one) == 0


def test_waiting_requests_of_an_engine_that_is_out_are_sent_elsewhere_once() -> None:
    """The edge is told first not to use it; then each connection ends; while it stays out it is looked at rarely."""
    edge, (one,) = routers()
    edge.sessions["a"], edge.pairs = 2, [PAIR, PAIR]
    one.step()
    one.hang("a")
    one.step()
    assert one.ended == [PAIR, PAIR]
    assert edge.orders == ["down a"]
    assert one.keeper.tally.severed == 2
    edge.pairs = []
    for _ in range(20):
        one.step()
    assert one.ended == [PAIR, PAIR]
    assert edge.dumps <= 1 + 20 / 5


def test_requests_stay_at_an_engine_that_is_out_but_answers() -> None:
    """Out because its answers were errors: it is alive, and what waits there is being computed."""
    edge, (one,) = routers()
    edge.sessions["a"], edge.pairs = 1, [PAIR]
    one.fleet.finished(Outcome("nobody", "a", 502, "SH"), one.clock())
    one.step()
    assert one.fleet.snapshot(0.0).engines[0].state is State.EJECTED
    assert (one.ended, edge.dumps) == ([], 0)


@pytest.mark.parametrize("sessions", [0, 1])
def test_requests_stay_where_no_other_engine_can_take_them(sessions: int) -> None:
    """Nobody there, or nobody else: nothing is ended, HAProxy not even asked for its streams."""
    edge, (one,) = routers()
    edge.sessions["a"], edge.pairs = sessions, [PAIR]
    edge.up["b"] = sessions == 0
    one.hang("a")
    one.step()
    assert (one.ended, edge.dumps) == ([], 0)


def test_a_kernel_that_cannot_is_asked_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning and a metric; the requests wait as they would without us."""
    edge, (one,) = routers(answer=Severed.IMPOSSIBLE)
    edge.sessions["a"], edge.pairs = 1, [PAIR]
    one.hang("a")
    for _ in range(20):
        one.step()
    assert one.ended == [PAIR]
    assert sum("CAP_NET_ADMIN" in line for line in caplog.messages) == 1
    assert metrics(one)["ironrack_router_edge_can_sever"] == 0.0


async def test_a_dead_socket_costs_a_metric_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Gone and back: the keeper goes on, says each once, and the metric follows."""
    caplog.set_level(logging.INFO)
    edge, clock = Edge(), Clock()

    def now() -> float:
        clock.now += 1.0
        return clock.now

    keeper = EdgeKeeper(fleet_of(*NAMES), edge, lambda: dict.fromkeys(NAMES, "model-m"), now)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(keeper.run())
        for gone in (False, True, False):
            edge.gone = gone
            await until(lambda: keeper.tally.up is not edge.gone, "the keeper has noticed")
        running.cancel()
    assert [line for line in caplog.messages if line.startswith("edge socket")] == [
        "edge socket: it answers",
        "edge socket: gone",
        "edge socket: it answers",
    ]


def metrics(router: Router) -> dict[str, float]:
    families = EdgeMetrics(router.keeper.tally).collect()
    return {sample.name: sample.value for family in families for sample in family.samples}
