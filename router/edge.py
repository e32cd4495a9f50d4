"""HAProxy's runtime socket: drains pushed and adopted, its counts read, requests taken from engines that hang.

Whoever shares an edge shares its drains. HAProxy's state is the common truth, and each router that talks to it follows
one rule, once a second, for each engine: what I changed since we last agreed I push; what changed there I adopt; and
when we meet for the first time (I am new, or it is), or both changed, an operator's drain is more than a fault's, and
that more than none. So that each router knows what a drain is for, whoever ordered it, the edge keeps that, too.

A drained server is in HAProxy's `maint`, not its `drain`: that one would still take the sessions its table remembers.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from router.drains import Drain, drain_for, settled
from router.edge_socket import EdgeError, EdgeSocket
from router.edge_text import ServerState
from router.fleet import EngineSnapshot, Fleet, State
from router.sever import Pair, Severed, sever

__all__ = ["EdgeError", "EdgeKeeper", "EdgeSocket", "EdgeTally"]

logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.2
_SYNC_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 5.0
_OLD_SECONDS: Final = 300.0  # after a reload an old process may still take requests, on connections that it has kept
_PROXIED: Final = "router-proxy"  # the backend of requests that the router itself carries to an engine


@dataclass(slots=True)
class EdgeTally:
    """What the keeper did. `up`: the socket answered last time; `can_sever`: nothing has spoken against it yet."""

    up: bool = False
    can_sever: bool = True
    severed: int = 0
    drains_pushed: int = 0
    drains_adopted: int = 0


class EdgeKeeper:
    """Keeps fleet and edge of one mind. `backends`: each engine's backend by engine name, now."""

    def __init__(
        self,
        fleet: Fleet,
        socket: EdgeSocket,
        backends: Callable[[], Mapping[str, str]],
        clock: Callable[[], float],
        end: Callable[[Pair], Severed] = sever,
    ) -> None:
        self._fleet = fleet
        self._socket = socket
        self._backends = backends
        self._clock = clock
        self._end = end
        self._agreed: dict[str, Drain] = {}
        self._life: tuple[str, str] | None = None
        self._since = float("-inf")
        self._looked: dict[str, float] = {}
        self._synced = float("-inf")
        self.tally = EdgeTally()

    async def run(self) -> None:
        """Keep, until cancelled. A dead socket costs nothing but the metric, and one line when that changes."""
        while True:
            try:
                await self.step()
                self._answered(up=True)
            except EdgeError as problem:
                self._answered(up=False, why=str(problem))
            await asyncio.sleep(_LOOK_SECONDS)

    async def step(self) -> None:
        """Take requests from engines that are out; after an order, or once a second, agree. Raises EdgeError."""
        now = self._clock()
        if now - self._synced >= _SYNC_SECONDS or self._ordered(now):
            self._synced = now
            await self._sync()
        await self._rescue(self._clock())

    def _ordered(self, now: float) -> bool:
        """Whether somebody drained or undrained since edge and fleet last agreed."""
        ours = self._ours(now)
        return any(ours[name] != agreed for name, agreed in self._agreed.items() if name in ours)

    def _ours(self, now: float) -> dict[str, Drain]:
        return {engine.name: drain_for(engine.drain_reason) for engine in self._fleet.snapshot(now).engines}

    def _answered(self, *, up: bool, why: str = "") -> None:
        if up is not self.tally.up:
            logger.log(logging.INFO if up else logging.WARNING, "edge socket: %s", why or "it answers")
        self.tally.up = up

    async def _sync(self) -> None:
        view = await self._socket.look()
        if view.life != self._life:
            self._agreed.clear()
            if self._life is not None:
                self._since = self._clock() + _OLD_SECONDS
            self._life = view.life
        found = view.servers
        proxied = sum(state.sessions for (backend, _), state in found.items() if backend.startswith(_PROXIED))
        ours = self._ours(self._clock())
        places = [(name, place) for name, place in self._backends().items() if name in ours and (place, name) in found]
        for name, backend in places:
            state = found[backend, name]
            await self._agree(name, backend, ours[name], state)
            # The router carries some requests itself, and HAProxy does not count those at their engine: any may be its.
            self._fleet.reconcile(name, state.sessions + state.queued + proxied, self._clock(), self._since)
        self._forget(name for name, _ in places)

    async def _agree(self, name: str, backend: str, ours: Drain, state: ServerState) -> None:
        wanted = settled(self._agreed.get(name), ours, state.drain)
        if wanted != state.drain and wanted is not Drain.OPERATOR:
            # Somebody may have drained it since that look: no operator's order may be lost to the end of a fault.
            state = (await self._socket.servers()).get((backend, name), state)
            wanted = settled(self._agreed.get(name), ours, state.drain)
        left_over = state.marked and state.drain is not Drain.FAULT  # somebody at the edge's socket changed its state
        if wanted != state.drain or left_over:
            await self._socket.drain(backend, name, wanted)
            self.tally.drains_pushed += wanted != state.drain
        if wanted != ours:
            if self._ours(self._clock()).get(name) != ours:
                return  # ordered here meanwhile: the next look settles that
            self._fleet.undrain(name)
            if wanted:
                self._fleet.drain(name, wanted.reason)
            self.tally.drains_adopted += 1
        self._agreed[name] = wanted

    def _forget(self, names: Iterable[str]) -> None:
        here = frozenset(names)
        self._agreed = {name: agreed for name, agreed in self._agreed.items() if name in here}
        self._looked = {name: when for name, when in self._looked.items() if name in here}

    async def _rescue(self, now: float) -> None:
        """Look at engines that hang: as soon as they are out, then every few seconds while they stay out."""
        backends = self._backends()
        for name in self._fleet.take_ejected():
            self._looked.pop(name, None)
        for engine in self._fleet.snapshot(now).engines:
            if not _hangs(engine) or engine.name not in backends:
                self._looked.pop(engine.name, None)
            elif now - self._looked.get(engine.name, float("-inf")) >= _AGAIN_SECONDS:
                await self._take_from(engine.name, backends[engine.name])
                self._looked[engine.name] = now

    async def _take_from(self, name: str, backend: str) -> None:
        """Give requests that wait at `name` for their first byte to others; streams that have begun are not touched."""
        if not self.tally.can_sever or not await self._has_others(name, backend):
            return
        pairs = await self._socket.waiting(backend, name)
        if not pairs:
            return
        # Or they could be sent to the same engine again, which the edge may still believe in.
        await self._socket.down(backend, name)
        ended = [self._end(pair) for pair in pairs]
        self._account(name, ended)

    async def _has_others(self, name: str, backend: str) -> bool:
        found = await self._socket.servers()
        mine = found.get((backend, name), ServerState())
        others = (state for place, state in found.items() if place[0] == backend and place[1] != name)
        return mine.sessions > 0 and any(state.up and not state.drained for state in others)

    def _account(self, name: str, ended: list[Severed]) -> None:
        done = ended.count(Severed.DONE)
        self.tally.severed += done
        if done:
            logger.warning("engine %s: it is out: %d requests that waited there were sent elsewhere", name, done)
        if Severed.IMPOSSIBLE in ended:
            self.tally.can_sever = False
            logger.warning(
                "engine %s: its waiting requests stay: found that sockets cannot be ended from here: "
                "CAP_NET_ADMIN and a kernel with CONFIG_INET_DIAG_DESTROY are needed; see docs/operations/failures.md",
                name,
            )


def _hangs(engine: EngineSnapshot) -> bool:
    """Whether it is out and silent. One that is out because it answers with errors does answer: its requests stay."""
    return engine.state is State.EJECTED and (engine.stalled or engine.probe_failures > 0)
