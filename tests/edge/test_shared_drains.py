"""Routers that share an edge share its drains, and what each was ordered for: who ordered one ends it, and nobody else.

HAProxy is the real one; each router is a fleet, its keeper and its ear for GPU watchers, which steps when told to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from router.edge import EdgeKeeper, EdgeSocket
from router.fleet import EngineSettings, Fleet, FleetSettings, Probe
from router.gpu_faults import Fault, GpuFaults, Report, Watched
from tests.support.processes import wait_until
from tests.support.runtime_socket import ask, process
from tests.support.stack import Stack

Start = Callable[..., Stack]
BACKEND = "model-tiny"
WATCHER = "http://127.0.0.1:1"
BROKEN = Report((Fault(0, "x-1", "the GPU fell off the bus", 79),))
MENDED = Report()


class Router:
    """One router on the edge of `stack`; the first engine uses a GPU that is watched."""

    def __init__(self, stack: Stack) -> None:
        engines = tuple(EngineSettings(name, f"http://127.0.0.1:{port}", "tiny") for name, port in stack.ports.items())
        self.fleet = Fleet(FleetSettings(engines), 0.0)
        for engine in engines:
            self.fleet.probe(engine.name, Probe(ok=True), 0.0)
        first = engines[0]
        self.faults = GpuFaults(self.fleet, [Watched(first.name, first.url, WATCHER, frozenset({0}))])
        backends = dict.fromkeys(stack.ports, BACKEND)
        path = str(stack.config["runtime_socket"])
        self.keeper = EdgeKeeper(self.fleet, EdgeSocket(path), lambda: backends, count(100.0, 2.0).__next__)

    def step(self) -> dict[str, str]:
        """Agree with the edge; return who is drained here, and what for."""
        asyncio.run(self.keeper.step())
        return {engine.name: engine.drain_reason for engine in self.fleet.snapshot(0.0).engines if engine.draining}

    def hears(self, report: Report) -> None:
        """Its watcher said so."""
        self.faults.heard(WATCHER, report)


class Shared:
    """A stack, its first engine, and what routers and HAProxy itself say of it."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.victim = stack, next(iter(stack.engines))

    def router(self) -> Router:
        return Router(self.stack)

    def works(self, *routers: Router) -> bool:
        """Whether it gets work again, by every router, by HAProxy, and with the weight it was configured with."""
        for router in routers:
            router.step()
        return not any(router.step() for router in routers) and self.at_edge() == ("0", "1")

    def drained(self, reason: str, *routers: Router) -> bool:
        """Whether it is drained for that, by every router, and gets nothing from HAProxy."""
        found = [router.step() for router in routers]
        return found == [{self.victim: reason}] * len(routers) and self.at_edge()[0] == "1"

    def at_edge(self) -> tuple[str, str]:
        """HAProxy's own word: administrative state and weight."""
        head, *rows = ask(self.path, f"show servers state {BACKEND}").strip().splitlines()[1:]
        names = head.removeprefix("# ").split()
        tables = [dict(zip(names, row.split(), strict=False)) for row in rows]
        mine = next(table for table in tables if table["srv_name"] == self.victim)
        return mine["srv_admin_state"], mine["srv_uweight"]

    def order(self, words: str) -> None:
        """An operator at HAProxy's own socket."""
        ask(self.path, f"set server {BACKEND}/{self.victim} {words}")

    @property
    def path(self) -> str:
        return str(self.stack.config["runtime_socket"])


@pytest.fixture
def shared(start: Start) -> Shared:
    """One model, two engines."""
    return Shared(start({"tiny": 2}))


def test_a_fault_drains_at_every_router_and_its_end_lets_work_in_at_every_router(shared: Shared) -> None:
    """B starts while A has it drained, and adopts that; both hear of the fault, and of its end."""
    one = shared.router()
    one.hears(BROKEN)
    assert shared.drained("gpu", one)
    two = shared.router()
    assert shared.drained("gpu", two, one)
    two.hears(BROKEN)
    assert shared.drained("gpu", one, two)
    one.hears(MENDED)
    two.hears(MENDED)
    assert shared.works(one, two)


@pytest.mark.parametrize("hears_first", [True, False])
def test_a_router_that_was_restarted_while_a_fault_drains_ends_that_drain(shared: Shared, *, hears_first: bool) -> None:
    """It knows from the edge what it had ordered before, whichever it asks first: the edge or the watcher."""
    before, beside = shared.router(), shared.router()
    before.hears(BROKEN)
    assert shared.drained("gpu", before, beside)
    again = shared.router()
    if hears_first:
        again.hears(BROKEN)
    assert shared.drained("gpu", again, beside)
    for router in (again, beside):
        router.hears(BROKEN)
        router.hears(MENDED)
    assert shared.works(again, beside)


@pytest.mark.parametrize("heard", [True, False])
def test_a_router_that_adopted_ends_it_when_it_is_the_only_one_left(shared: Shared, *, heard: bool) -> None:
    """A ends; the fault's end is heard by B alone, which may never have heard of the fault."""
    one = shared.router()
    one.hears(BROKEN)
    assert shared.drained("gpu", one)
    two = shared.router()
    assert shared.drained("gpu", two)
    if heard:
        two.hears(BROKEN)
    two.hears(MENDED)
    assert shared.works(two)


def test_a_router_that_watches_no_gpu_follows_whoever_does(shared: Shared) -> None:
    """It adopts the drain and its end."""
    one, blind = shared.router(), shared.router()
    one.hears(BROKEN)
    assert shared.drained("gpu", one, blind)
    one.hears(MENDED)
    assert shared.works(one, blind)


@pytest.mark.parametrize("at_other", [True, False])
def test_an_operators_drain_of_the_same_engine_outlives_the_fault(shared: Shared, *, at_other: bool) -> None:
    """At whichever router, and over a restart of it; then an operator at any router ends it."""
    one, two = shared.router(), shared.router()
    one.hears(BROKEN)
    assert shared.drained("gpu", one, two)
    (two if at_other else one).fleet.drain(shared.victim)
    for router in (one, two):
        router.step()
    assert shared.drained("operator", one, two)
    again = shared.router()
    for router in (one, two, again):
        router.hears(BROKEN)
        router.hears(MENDED)
    assert shared.drained("operator", again, one, two)
    one.fleet.undrain(shared.victim)
    assert shared.works(one, two, again)


def test_an_operators_drain_that_was_there_before_the_fault_stays_his(shared: Shared) -> None:
    """A router that starts finds it at the edge, hears of a fault and of its end, and lets nobody in."""
    one = shared.router()
    one.fleet.drain(shared.victim)
    assert shared.drained("operator", one)
    two = shared.router()
    for report in (BROKEN, MENDED):
        two.hears(report)
        assert shared.drained("operator", two, one)


def test_a_reloaded_edge_is_told_again_what_a_drain_is_for(shared: Shared) -> None:
    """The new process knows of no drain; what it is told is what it was."""
    one, two = shared.router(), shared.router()
    one.hears(BROKEN)
    assert shared.drained("gpu", one, two)
    before = process(shared.path)
    assert shared.stack.edge.process is not None
    shared.stack.edge.process.send_signal(12)
    wait_until(lambda: process(shared.path) != before, "the new process answers")
    assert shared.at_edge() == ("0", "1")
    assert shared.drained("gpu", two, one)
    one.hears(MENDED)
    assert shared.works(one, two)


def test_an_operator_at_the_edges_own_socket_is_heard(shared: Shared) -> None:
    """`ready` ends a fault's drain, and leaves nothing behind; `drain` makes one that is the operator's."""
    one, two = shared.router(), shared.router()
    one.hears(BROKEN)
    assert shared.drained("gpu", one, two)
    shared.order("state ready")
    assert shared.works(one, two)
    shared.order("state drain")
    for router in (one, two):
        assert router.step() == {shared.victim: "operator"}
        router.hears(MENDED)
    assert one.step() == two.step() == {shared.victim: "operator"}
