"""Routers and the edge they share, in memory: each router steps when it is told to."""

import asyncio

from router.drains import Drain, drain_for
from router.edge import EdgeError, EdgeKeeper, EdgeSocket
from router.edge_text import EdgeView, ServerState
from router.fleet import EngineSettings, Fleet, FleetSettings, Probe
from router.sever import Pair, Severed

NAMES = ("a", "b")
PAIR = Pair("127.0.0.1", 1, "127.0.0.1", 2)


class Edge(EdgeSocket):
    """HAProxy as far as its runtime socket tells, in memory."""

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.life = 0
        self.gone = False
        self.drains = dict.fromkeys(NAMES, Drain.NONE)
        self.sessions = dict.fromkeys(NAMES, 0)
        self.carried = 0
        self.up = dict.fromkeys(NAMES, True)
        self.pairs: list[Pair] = []
        self.orders: list[str] = []
        self.dumps = 0

    async def look(self) -> EdgeView:
        if self.gone:
            raise EdgeError("gone")
        states = {
            ("model-m", name): ServerState(self.sessions[name], 0, up=self.up[name], drain=self.drains[name])
            for name in NAMES
        }
        carried = {("router-proxy", "router"): ServerState(self.carried, 0)}
        return EdgeView(("pid", str(self.life)), states | carried)

    async def drain(self, backend: str, server: str, drain: Drain = Drain.OPERATOR) -> None:
        self._take(f"{drain.reason or 'ready'} {server}")
        self.drains[server] = drain

    async def down(self, backend: str, server: str) -> None:
        self._take(f"down {server}")
        self.up[server] = False

    async def waiting(self, backend: str, server: str) -> list[Pair]:
        self.dumps += 1
        return self.pairs

    def restart(self) -> None:
        self.life += 1
        self.drains = dict.fromkeys(NAMES, Drain.NONE)

    def set(self, name: str, *, drained: bool) -> None:
        """An operator at its own socket."""
        self.drains[name] = Drain.OPERATOR if drained else Drain.NONE

    def drained(self) -> dict[str, bool]:
        return {name: drain is not Drain.NONE for name, drain in self.drains.items()}

    def _take(self, order: str) -> None:
        if self.gone:
            raise EdgeError("gone")
        self.orders.append(order)


class Clock:
    """Time that passes when it is asked to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fleet_of(*names: str) -> Fleet:
    engines = tuple(EngineSettings(name, f"http://127.0.0.1/{name}", "m", 8000.0) for name in names)
    fleet = Fleet(
        FleetSettings(engines, eject_after=1, probe_fail_after=1, eject_seconds=1000.0, eject_max_seconds=1000.0), 0.0
    )
    for name in names:
        fleet.probe(name, Probe(ok=True), 0.0)
    return fleet


class Router:
    """A fleet and its keeper."""

    def __init__(self, edge: Edge, clock: Clock, answer: Severed = Severed.DONE) -> None:
        self.edge = edge
        self.clock = clock
        self.ended: list[Pair] = []
        self.answer = answer
        self.restart()

    def restart(self) -> None:
        self.fleet = fleet_of(*NAMES)
        backends = dict.fromkeys(NAMES, "model-m")
        self.keeper = EdgeKeeper(self.fleet, self.edge, lambda: backends, self.clock, self._end)

    def drains(self) -> dict[str, Drain]:
        return {engine.name: drain_for(engine.drain_reason) for engine in self.fleet.snapshot(0.0).engines}

    def set(self, name: str, *, drained: bool) -> None:
        (self.fleet.drain if drained else self.fleet.undrain)(name)

    def hang(self, name: str) -> None:
        self.fleet.probe(name, Probe(ok=False), self.clock())

    def step(self) -> None:
        self.clock.now += 1.0
        asyncio.run(self.keeper.step())

    def _end(self, pair: Pair) -> Severed:
        self.ended.append(pair)
        return self.answer


def routers(count: int = 1, **options: Severed) -> tuple[Edge, list[Router]]:
    edge, clock = Edge(), Clock()
    return edge, [Router(edge, clock, **options) for _ in range(count)]
