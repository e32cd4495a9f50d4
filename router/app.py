"""Sockets and wiring: the edge's questions, its completion events, the HTTP side, the timers. Decides nothing."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiohttp import web

from router.account import Accounts, Journal
from router.admin import Admin
from router.answer import Answers
from router.config import Settings, fleet_settings, parse_settings, split_address, spop_limits
from router.connections import EventConnection, SpopConnection, mine
from router.fleet import Fleet
from router.health import Prober, Rhythm, Target
from router.joined import Recent
from router.metrics import Exporter, Tally, registry
from router.tidy import Tidy

logger = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_FLUSH_SECONDS = 0.25
_DRAIN_SECONDS = 1.0  # long enough for the edge's health check to see that nobody accepts any more


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the router really listens, `host:port` each."""

    spop: str
    http: str
    events: str


class Router:
    """Everything wired together; `serve` runs it until `stop` is set."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        engines = settings.engines
        sources = {*settings.sessions.headers, *settings.sessions.fields, "fingerprint", "prefix"}
        self.tally = Tally((engine.name for engine in engines), sources)
        self.fleet = Fleet(fleet_settings(settings), time.monotonic())
        recent = Recent(settings.leases.capacity if settings.log.decisions else 0)
        self._journal = Journal(self.tally)
        self._accounts = Accounts(self.fleet, self.tally, recent, self._journal if settings.log.decisions else None)
        self.answers = Answers(
            settings=parse_settings(settings),
            backends={model.name: model.backend for model in settings.models},
            fleet=self.fleet,
            tally=self.tally,
            recent=recent,
            clock=time.perf_counter,
        )
        self._prober = Prober(
            tuple(Target(engine.name, engine.url) for engine in engines),
            Rhythm(settings.health.interval_seconds, settings.health.timeout_seconds),
            self.fleet.probe,
            self.tally,
            time.monotonic,
        )
        exporter = Exporter(self.tally, lambda: self.fleet.snapshot(time.monotonic()), self._prober.ages)
        self._metrics = registry(exporter)
        self._tidy = Tidy(time.monotonic())
        self._peers: set[SpopConnection] = set()
        self._event_peers: set[EventConnection] = set()
        self._mine = mine(settings.decider.index, settings.decider.of)
        self._listening = False

    async def serve(self, stop: asyncio.Event, started: Callable[[Addresses], None] = lambda _: None) -> None:
        """Run until `stop`; `started` is told the addresses once questions are taken. OSError: a port is taken."""
        async with AsyncExitStack() as stack:
            spop = await self._listen(stack, self._settings.listen.spop, self._spop_connection, start_serving=False)
            events = await self._listen(stack, self._settings.listen.events, self._event_connection)
            http = await self._serve_http(stack)
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(self._prober.run(), name="prober"),
                    tasks.create_task(_every(_TICK_SECONDS, self._tick, self.tally), name="tick"),
                    tasks.create_task(_every(_FLUSH_SECONDS, self._flush, self.tally), name="flush"),
                ]
                await self._first_look(stop)
                await spop.start_serving()
                self._listening = True
                started(Addresses(_bound(spop), http, _bound(events)))
                await stop.wait()
                await self._drain(spop)
                for task in running:
                    task.cancel()
        _write(self._journal.take())

    async def _first_look(self, stop: asyncio.Event) -> None:
        """Take no questions before every engine was looked at: until then the edge decides better by itself."""
        looks = [asyncio.ensure_future(self._prober.all_seen.wait()), asyncio.ensure_future(stop.wait())]
        timeout = self._settings.health.timeout_seconds + self._settings.health.interval_seconds
        await asyncio.wait(looks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for look in looks:
            look.cancel()

    async def _drain(self, spop: asyncio.Server) -> None:
        """Accept nobody, answer those who are connected until the edge has noticed, then say goodbye."""
        self._listening = False
        spop.close()
        if self._peers:
            await asyncio.sleep(_DRAIN_SECONDS)
        for peer in tuple(self._peers):
            peer.finish()

    async def _serve_http(self, stack: AsyncExitStack) -> str:
        models = tuple(model.name for model in self._settings.models)
        admin = Admin(
            models=models,
            fleet=self.fleet,
            metrics=self._metrics,
            clock=time.monotonic,
            ready=lambda: self._listening,
            created=_wall_clock(),
        )
        runner = web.AppRunner(admin.application(), access_log=None, shutdown_timeout=_DRAIN_SECONDS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        host, port = split_address(self._settings.listen.http)
        await web.TCPSite(runner, host, port).start()
        return _join(runner.addresses[0])

    async def _listen(
        self,
        stack: AsyncExitStack,
        address: str,
        protocol: Callable[[], asyncio.Protocol],
        *,
        start_serving: bool = True,
    ) -> asyncio.Server:
        host, port = split_address(address)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(protocol, host, port, backlog=1024, start_serving=start_serving)
        stack.callback(server.close)
        return server

    def _spop_connection(self) -> SpopConnection:
        return SpopConnection(self.answers, spop_limits(self._settings), self.tally, self._peers)

    def _event_connection(self) -> EventConnection:
        return EventConnection(self._accounts, self.tally, self._event_peers, self._mine)

    async def _tick(self) -> None:
        now = time.monotonic()
        self.fleet.expire(now)
        self._tidy.tick(now, idle=self.fleet.snapshot(now).leases == 0)

    async def _flush(self) -> None:
        octets = self._journal.take()
        if octets:
            await asyncio.to_thread(_write, octets)


async def _every(seconds: float, action: Callable[[], Awaitable[None]], tally: Tally) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await action()
        except Exception:
            tally.fault(logger, "a timer failed: it goes on")


def _write(octets: bytes) -> None:
    sys.stdout.buffer.write(octets)
    sys.stdout.buffer.flush()


def _wall_clock() -> int:
    return int(time.time_ns() // 1_000_000_000)


def _bound(server: asyncio.Server) -> str:
    return _join(server.sockets[0].getsockname())


def _join(name: tuple[str | int, ...]) -> str:
    host, port = str(name[0]), name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
