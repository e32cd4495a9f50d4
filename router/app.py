"""Sockets and timers: the edge's questions, its completion events, the HTTP side. Decides nothing."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiohttp import web

from router.admin import Admin
from router.answer import Answers
from router.config import Settings, split_address, spop_limits
from router.connections import EventConnection, SpopConnection
from router.fleet import Fleet
from router.metrics import Tally
from router.parts import Parts
from router.reload import Reloader, Source
from router.tidy import Tidy

logger = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_WATCH_SECONDS = 0.1  # an engine that stands still is found so much later at most than `stall_seconds` say
_FLUSH_SECONDS = 0.25
_DOOR_SECONDS = 0.1  # those who wait hear this soon of room that another router's requests left
_SHARED_SECONDS = 0.02  # how old the load of other routers of this host may be
_HEARD_SECONDS = 0.25  # and that of other hosts
_AGAIN_SECONDS = 1.0
_DRAIN_SECONDS = 1.0  # long enough for the edge's health check to see that nobody accepts any more


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the router really listens, `host:port` each."""

    spop: str
    http: str
    events: str
    proxy: str = ""


class Router:
    """Everything wired together; `serve` runs it until `stop` is set. With a `source`, it follows that file."""

    def __init__(self, settings: Settings, source: Source | None = None) -> None:
        self._settings = settings  # what cannot change while it runs
        self._parts = Parts(settings, source.engine_key if source else "")
        self._reloader = Reloader(source, self._parts.configure) if source else None
        if self._reloader:
            self._parts.watch(self._reloader)
        self._tidy = Tidy(time.monotonic())
        self._peers: set[SpopConnection] = set()
        self._event_peers: set[EventConnection] = set()
        self._listening = False

    @property
    def fleet(self) -> Fleet:
        """The owner of engines, leases and bindings."""
        return self._parts.fleet

    @property
    def tally(self) -> Tally:
        """What is counted outside the fleet."""
        return self._parts.tally

    @property
    def answers(self) -> Answers:
        """What the edge is told."""
        return self._parts.answers

    def reload(self) -> None:
        """Read the settings file again, changed or not."""
        if self._reloader:
            self._reloader.ask()

    async def serve(self, stop: asyncio.Event, started: Callable[[Addresses], None] = lambda _: None) -> None:
        """Run until `stop`; `started` is told the addresses once questions are taken. OSError: a port is taken."""
        async with AsyncExitStack() as stack:
            stack.callback(self._parts.foreign.close)
            if self._parts.export:
                self._parts.export.start()
                stack.callback(self._parts.export.close)
            spop = await self._listen(stack, self._settings.listen.spop, self._spop_connection, start_serving=False)
            events = await self._listen(stack, self._settings.listen.events, self._event_connection)
            http = await self._serve_http(stack)
            proxy = await self._serve_proxy(stack)
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(work, name=name) for name, work in self._work()]
                await self._first_look(stop)
                await spop.start_serving()
                self._listening = True
                started(Addresses(_bound(spop), http, _bound(events), proxy))
                await stop.wait()
                await self._drain(spop)
                for task in running:
                    task.cancel()
        _write(self._parts.journal.take())

    def _work(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """What runs beside the connections, by name."""
        yield "prober", self._parts.prober.run()
        yield "tick", _every(_TICK_SECONDS, self._tick, self.tally)
        yield "watch", _every(_WATCH_SECONDS, self._watch, self.tally)
        yield "flush", _every(_FLUSH_SECONDS, self._flush, self.tally)
        yield "door", _every(_DOOR_SECONDS, self._let_in, self.tally)
        yield "calibrator", _always(self._parts.calibrator.run, self.tally)
        yield "discovery", _always(self._parts.discovery.run, self.tally)
        yield "gossip", _always(self._parts.gossip.run, self.tally)
        yield "gpu faults", _always(self._parts.gpu_faults.run, self.tally)
        yield "foreign", _every(self._exchange_seconds(), self._exchange, self.tally)
        if self._parts.caches:
            yield "kv events", _always(self._parts.caches.events.run, self.tally)
            yield "kv prompts", _always(self._parts.caches.learner.run, self.tally)
        if self._parts.keeper:
            yield "edge", _always(self._parts.keeper.run, self.tally)
        if self._parts.certificates:
            yield "certificates", _always(self._parts.certificates.run, self.tally)
        if self._reloader:
            yield "reload", _always(self._reloader.run, self.tally)

    async def _first_look(self, stop: asyncio.Event) -> None:
        """Take no questions before every engine was looked at: until then the edge decides better by itself."""
        looks = [asyncio.ensure_future(self._parts.prober.all_seen.wait()), asyncio.ensure_future(stop.wait())]
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
        admin = Admin(
            models=self._parts.models,
            fleet=self.fleet,
            metrics=self._parts.metrics,
            clock=time.monotonic,
            ready=lambda: self._listening,
            catalogue=self._parts.catalogue,
            generation=lambda: self._reloader.generation if self._reloader else None,
        )
        runner = web.AppRunner(admin.application(), access_log=None, shutdown_timeout=_DRAIN_SECONDS)
        return await self._site(stack, runner, self._settings.listen.http)

    async def _serve_proxy(self, stack: AsyncExitStack) -> str:
        address = self._settings.listen.proxy
        return await self._site(stack, self._parts.proxy.runner(), address) if address else ""

    async def _site(self, stack: AsyncExitStack, runner: web.AppRunner, address: str) -> str:
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        host, port = split_address(address)
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
        return SpopConnection(self.answers, spop_limits(self._parts.settings), self.tally, self._peers)

    def _event_connection(self) -> EventConnection:
        return EventConnection(self._parts.accounts, self.tally, self._event_peers, self._parts.hears)

    async def _tick(self) -> None:
        now = time.monotonic()
        self.fleet.expire(now)
        self._tidy.tick(now, idle=self.fleet.snapshot(now).leases == 0)

    async def _watch(self) -> None:
        self.fleet.watch(time.monotonic())

    async def _let_in(self) -> None:
        self._parts.door.tick(time.monotonic())

    def _exchange_seconds(self) -> float:
        return _SHARED_SECONDS if self._settings.decider.shared else _HEARD_SECONDS

    async def _exchange(self) -> None:
        self._parts.foreign.refresh()

    async def _flush(self) -> None:
        octets = self._parts.journal.take()
        if octets:
            await asyncio.to_thread(_write, octets)


async def _every(seconds: float, action: Callable[[], Awaitable[None]], tally: Tally) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await action()
        except Exception:  # a timer outlives what it does
            tally.fault(logger, "a timer failed: it goes on")


async def _always(run: Callable[[], Awaitable[None]], tally: Tally) -> None:
    """Run what should never end, again where it does: none of it may take the router with it."""
    while True:
        try:
            await run()
        except Exception:  # as above
            tally.fault(logger, "a task failed: it is started again")
        await asyncio.sleep(_AGAIN_SECONDS)


def _write(octets: bytes) -> None:
    sys.stdout.buffer.write(octets)
    sys.stdout.buffer.flush()


def _bound(server: asyncio.Server) -> str:
    return _join(server.sockets[0].getsockname())


def _join(name: tuple[str | int, ...]) -> str:
    host, port = str(name[0]), name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
