"""A lab under load, and the moves that the cases share."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession

from tests.bench.errors import BenchError
from tests.lab import state
from tests.lab.processes import Process, end, spawn
from tests.support.lab import Lab, started
from tests.support.load import Conversation, Load, conversations, load
from tests.support.until import until

_SESSIONS = 24
_PATIENCE = 60.0


@dataclass(slots=True)
class Stage:
    """One lab, its load, and how long the load goes on after each event.

    `edges`: those that reloads started. `ejected_after`: seconds from a fault until its engine got nothing more.
    """

    lab: Lab
    load: Load
    talks: list[Conversation]
    rounds: int
    edges: list[Process] = field(default_factory=list)
    ejected_after: float | None = None

    async def served(self, rounds: int = 0) -> None:
        """Until every session had so many further turns, on average."""
        wanted = len(self.load.outcomes) + (rounds or self.rounds) * len(self.talks)
        await self.until(lambda: len(self.load.outcomes) >= wanted, "the load goes on")

    async def until(self, condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
        """Wait, or say that it never came."""
        try:
            await until(condition, what, _PATIENCE)
        except AssertionError as problem:
            raise BenchError(str(problem)) from problem

    async def ready(self) -> None:
        """Until the router gives work to every engine."""
        await self.until(self.lab.all_ready, "every engine is ready")

    async def ejected(self, engine: str, since: float) -> None:
        """Until the router gives an engine nothing more; remembers how long that took from a moment of the loop."""

        async def out() -> bool:
            return bool((await self.lab.fleet())[engine]["state"] == "ejected")

        await self.until(out, f"{engine} is ejected")
        self.ejected_after = asyncio.get_running_loop().time() - since

    async def emptied(self, engine: str) -> None:
        """Until the router counts no request at an engine."""

        async def empty() -> bool:
            return not (await self.lab.fleet())[engine]["in_flight"]

        await self.until(empty, f"{engine} is empty")

    async def all_wait(self) -> None:
        """Until every session's prompt is at an engine."""

        async def waiting() -> bool:
            counts = [int((await self.lab.sim(engine))["requests"]) for engine in self.lab.engines]
            return sum(counts) >= len(self.talks)

        await self.until(waiting, "every prompt is at an engine")

    async def restart(self, name: str) -> None:
        """End a process in peace and start it again."""
        await asyncio.to_thread(self.lab.restart, name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send one process a signal."""
        self.lab.signal(name, number)

    def home(self) -> str:
        """The engine that served most of late."""
        served = [one.served_by for one in self.load.outcomes[-2 * len(self.talks) :] if one.end == "ok"]
        return max(set(served), key=served.count)

    async def reload_edge(self) -> None:
        """A new HAProxy takes the listening sockets over; the old one finishes what it has."""
        found = state.load(self.lab.state)
        if found is None:
            raise BenchError(f"{self.lab.state}: the lab is gone: nothing to reload")
        edge = self.edges[-1] if self.edges else found.process("edge")
        first = found.process("edge").command
        argv = [*first.argv, "-x", str(self.lab.state / "haproxy.sock"), "-sf", str(edge.pid)]
        log = str(self.lab.state / "logs" / f"edge-{len(self.edges) + 1}.log")
        self.edges.append(spawn(type(first)("edge", argv, first.env, first.ready_url, log), Path.cwd()))


@asynccontextmanager
async def staged(engines: int, rounds: int, *options: str) -> AsyncIterator[Stage]:
    """A lab that serves, with sessions that have a home; gone after the block."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "lab"
        report = stack.enter_context(started(folder, engines, *options))
        client = await stack.enter_async_context(ClientSession())
        lab = Lab(folder, report, client)
        stage = Stage(
            lab,
            await stack.enter_async_context(load(lab.endpoint, lab.model)),
            conversations(_SESSIONS, "s"),
            rounds,
        )
        stack.callback(lambda: end(stage.edges))
        await stage.ready()
        yield stage
