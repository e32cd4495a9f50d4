"""The demonstration under load: conversations that each have a home, and what may be said of them afterwards."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import yaml
from aiohttp import ClientSession

from demo.deployed import Stack
from demo.paths import STACK_ROOT
from tests.support.lab import Running, metric, put
from tests.support.load import Conversation, Load, Outcome, conversations, homes, load, since
from tests.support.until import until

SETTINGS = STACK_ROOT / "config" / "router" / "router.yml"
RELOADS = "ironrack_router_config_reloads_total"
EDGE = "http://127.0.0.1:8405"
SESSIONS_AT_EDGE = "haproxy_server_sessions_total"
# About four of each engine.
SESSIONS = 8
# Far below what the tiny model can read, however long a test takes on a busy machine.
MESSAGES = 40
SHORT = {"max_tokens": 16, "temperature": 0, "ignore_eos": True}
PAUSE_SECONDS = 0.3
WIDE_GATE_SECONDS = 3600.0
# Why a session is elsewhere while its home is broken. The edge goes without a router that waits for the processor.
AWAY = {"retry", "eject", "fallback"}


@dataclass
class Busy:
    """The stack with conversations, and the engine that is home to each."""

    stack: Running
    load: Load
    talks: list[Conversation]
    home: dict[str, str]

    def strayed(self) -> list[Outcome]:
        """Turns away from home without a reason of their engine: full, or, on a busy machine, standing still."""
        places = {session: {engine} for session, engine in self.home.items()}
        for one in self.load.outcomes:
            if one.reason in {"spill", "retry", "eject"}:
                places[one.session].add(one.served_by)
        return [one for one in self.load.outcomes if one.served_by not in places[one.session]]

    async def configure(self, text: str, result: str = "ok") -> None:
        """Give the router a file; returns when it is in force, or with `failed` when it was refused."""
        before = await self.stack.metric(RELOADS, result=result)
        put(SETTINGS, text)

        async def read() -> bool:
            return await self.stack.metric(RELOADS, result=result) > before

        await until(read, f"the router has read its new file: {result}")

    def assert_nothing_failed(self) -> None:
        """Every turn was answered whole."""
        failed = [one for one in self.load.outcomes if one.end != "ok"]
        assert failed == [], failed


@asynccontextmanager
async def busy_stack(stack: Stack) -> AsyncIterator[Busy]:
    """Sessions at home with every engine; no request is left when the test is over."""
    engines = [{"name": engine.name, "url": engine.url} for engine in stack.engines]
    report = {
        "endpoint": stack.endpoint,
        "model": stack.model,
        "engines": engines,
        "routers": [{"name": "router", "admin_url": stack.router}],
    }
    turns = load(stack.endpoint, stack.model, mixed=True, longest=MESSAGES, **SHORT)
    async with ClientSession() as client, turns as asking:
        talks = conversations(SESSIONS, f"f{uuid.uuid4().hex[:6]}", words=20)
        home = homes(await asking.rounds(talks, 1))
        found = Busy(Running(report, client), asking, talks, home)
        yield found
        await until(found.stack.idle, "no load is left at the router")


class Victim:
    """The engine that a test breaks. Of its sessions `waiting` asks when the test says so, the rest with the load."""

    def __init__(self, busy: Busy, name: str) -> None:
        self.busy = busy
        self.name = name
        self.sessions = {session for session, engine in busy.home.items() if engine == name}
        self.waiting = next(talk for talk in busy.talks if talk.name in self.sessions)
        self.others = [talk for talk in busy.talks if talk is not self.waiting]

    async def has_requests(self) -> bool:
        """Whether a request without a first byte is there."""
        return bool((await self.busy.stack.fleet())[self.name]["uncached_tokens"])

    async def is_out(self) -> bool:
        """Whether the router gives it nothing."""
        return bool((await self.busy.stack.fleet())[self.name]["state"] == "ejected")

    async def assert_asked_nothing(self) -> None:
        """While it is out and the load goes on, its sessions are served elsewhere, at the first try."""
        away = asyncio.get_running_loop().time()
        turn = await self.busy.load.turn(self.waiting)
        asked = await self._asked()
        await self.busy.load.go_on(SESSIONS)
        assert await self.is_out()
        assert await self._asked() == asked
        assert (turn.end, turn.reason in AWAY - {"retry"}) == ("ok", True), turn
        assert self.name not in {one.served_by for one in since(self.busy.load.outcomes, away)}

    async def gets_its_sessions_back(self, seconds: float = 60) -> None:
        """Return when the last turn from now on of each of its sessions was served there, because it is their home."""
        now = asyncio.get_running_loop().time()
        await until(lambda: self._is_home_to_load(now), "the load's sessions come home", seconds)
        await until(self._is_home_to_waiting, "the session that waited comes home", 60)

    def _is_home_to_load(self, when: float) -> bool:
        last = {one.session: (one.served_by, one.reason) for one in since(self.busy.load.outcomes, when)}
        return all(last.get(session) == (self.name, "home") for session in self.sessions - {self.waiting.name})

    async def _is_home_to_waiting(self) -> bool:
        turn = await self.busy.load.turn(self.waiting)
        return (turn.served_by, turn.reason) == (self.name, "home")

    async def _asked(self) -> float:
        """How often the edge gave it a request."""
        return await metric(self.busy.stack.client, EDGE, SESSIONS_AT_EDGE, server=self.name)


async def victim(busy: Busy) -> Victim:
    """Home to several sessions; of such engines the one ejected least: it stays out for longer each time."""
    fleet, counts = await busy.stack.fleet(), Counter(busy.home.values())
    able = [name for name, sessions in counts.items() if sessions > 1]
    return Victim(busy, min(able, key=lambda name: int(fleet[name]["ejections"])))


@asynccontextmanager
async def wide_gate(busy: Busy) -> AsyncIterator[None]:
    """Sessions leave home for a broken engine only: what few busy cores do to prices is no fault."""
    good = SETTINGS.read_text()
    settings = yaml.safe_load(good)
    settings["routing"]["gate_seconds"] = WIDE_GATE_SECONDS
    try:
        await busy.configure(yaml.safe_dump(settings))
        yield
    finally:
        await busy.configure(good)
