"""Several routers beside one edge: each session has one of them, they know each other's load, one may be lost."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from tests.support.lab import Lab, _free, run
from tests.support.load import Load, at_home, conversations, ends, homes, load, since
from tests.support.until import until

pytestmark = pytest.mark.lab

_PORTS = 60  # two of the edge's, ten for each decider, the engines
_FIRST, _LAST = 24_000, 30_000


class Deciders:
    """A lab with several routers, and what each of them says."""

    def __init__(self, lab: Lab, client: Load, count: int) -> None:
        self.lab = lab
        self.load = client
        self.urls = {one["name"]: str(one["admin_url"]) for one in lab.report["routers"]}
        assert len(self.urls) == count

    async def metric(self, url: str, name: str, **labels: str) -> float:
        """A counter of one router, summed over the series that have these labels."""
        async with self.lab.client.get(f"{url}/metrics") as response:
            lines = (await response.text()).splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = (line for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        return sum(float(line.split()[-1]) for line in found if all(label in line for label in wanted))

    async def decisions(self, why: str) -> Counter[str]:
        """How often each router said so."""
        name = "ironrack_router_decisions_total"
        return Counter({router: int(await self.metric(url, name, why=why)) for router, url in self.urls.items()})

    async def engines(self, url: str) -> list[dict[str, Any]]:
        """What one router knows of each engine."""
        async with self.lab.client.get(f"{url}/admin/engines") as response:
            return list((await response.json())["engines"])

    async def all_ready(self) -> bool:
        """Whether every router gives work to every engine."""
        with suppress(ClientError):
            found = [one["state"] for url in self.urls.values() for one in await self.engines(url)]
            return set(found) == {"ready"}
        return False

    async def idle(self) -> bool:
        """Whether no router counts anything anywhere, its own or of others."""
        fields = ("in_flight", "uncached_tokens", "foreign_in_flight", "foreign_uncached_tokens")
        found = [one[field] for url in self.urls.values() for one in await self.engines(url) for field in fields]
        return not any(found)


Start = Callable[..., Awaitable[Deciders]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a lab with so many routers and engines."""
    async with AsyncExitStack() as stack:

        async def begin(deciders: int, engines: int, *options: str) -> Deciders:
            where = ("--state", str(tmp_path / "lab"))
            asked = ("--deciders", str(deciders), "--engines", str(engines), "--port", str(_span()))
            stack.callback(run, "down", *where)
            report = run("up", *where, *asked, "--decide-milliseconds", "500", "--", *options)
            client = await stack.enter_async_context(ClientSession())
            lab = Lab(tmp_path / "lab", report, client)
            found = Deciders(lab, await stack.enter_async_context(load(lab.endpoint, lab.model)), deciders)
            await until(found.all_ready, "every router sees every engine", 30)
            return found

        yield begin


def _span() -> int:
    for first in range(_FIRST + os.getpid() % 90 * _PORTS, _LAST, _PORTS):
        if all(_free(port) for port in range(first, first + _PORTS)):
            return first
    raise AssertionError(f"no {_PORTS} neighbouring free ports between {_FIRST} and {_LAST}")


@pytest.mark.parametrize("header", ["x-session-id", ""])
async def test_every_turn_of_a_session_meets_one_decider(start: Start, header: str) -> None:
    """Named or not, a session is new once and then at home: whoever decided its first turn decides the others."""
    lab = await start(3, 3)
    outcomes = await lab.load.rounds(conversations(24, "s", header=header), 4)
    assert ends(outcomes) == {"ok": 96}
    assert Counter(one.reason for one in outcomes) == {"new": 24, "home": 72}
    assert sum((await lab.decisions("new")).values()) == 24
    assert min((await lab.decisions("home")).values()) > 0
    await until(lab.idle, "every line was read by the router that decided", 20)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_losing_one_decider_fails_nothing_and_sessions_stay_home(start: Start, how: signal.Signals) -> None:
    """Its sessions are decided by another one, which learns from the edge's table where they are at home."""
    lab = await start(3, 3, "--decode-seconds", "0.004")
    talks = conversations(30, "s")
    await lab.load.rounds(talks, 2)
    home, began = homes(lab.load.outcomes), asyncio.get_running_loop().time()

    async def go_on(turns: int) -> None:
        wanted = len(lab.load.outcomes) + turns
        await until(lambda: len(lab.load.outcomes) >= wanted, f"{turns} further turns", 60)

    async with lab.load.running(talks):
        await go_on(30)
        lab.lab.signal("router-1", how)
        await go_on(150)
        await asyncio.to_thread(lab.lab.restart, "router-1")
        await go_on(150)
    assert ends(lab.load.outcomes) == {"ok": len(lab.load.outcomes)}
    assert at_home(since(lab.load.outcomes, began), home) >= 0.95
    await until(lab.idle, "no load is left at any router", 20)


async def test_deciders_see_what_others_have_sent(start: Start) -> None:
    """A request that one router decided counts at all of them while it runs, once."""
    lab = await start(3, 2, "--decode-seconds", "0.2")
    talks = conversations(6, "s", words=20)

    async def seen() -> bool:
        """Whether every router counts all six, its own and those of others together."""
        found = [await lab.engines(url) for url in lab.urls.values()]
        return {sum(one["in_flight"] + one["foreign_in_flight"] for one in engines) for engines in found} == {6}

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(lab.load.rounds(talks, 1))
        await until(seen, "all see all", 20)
    assert ends(task.result()) == {"ok": 6}
    await until(lab.idle, "nothing is left", 20)


async def test_drain_at_one_decider_holds_for_all(start: Start) -> None:
    """An operator asks one of them; the others learn it from the edge, and so does the end of it."""
    lab = await start(2, 2)
    first = lab.urls["router"]

    async def draining() -> bool:
        found = [one for url in lab.urls.values() for one in await lab.engines(url) if one["name"] == "engine-sim-0"]
        return [one["draining"] for one in found] == [verb == "drain"] * 2

    for verb in ("drain", "undrain"):
        async with lab.lab.client.post(f"{first}/admin/engines/engine-sim-0/{verb}") as response:
            assert response.status == 200
        await until(draining, f"{verb} holds everywhere", 20)
        outcomes = await lab.load.rounds(conversations(8, verb), 1)
        assert ends(outcomes) == {"ok": 8}
        if verb == "drain":
            assert {one.served_by for one in outcomes} == {"engine-sim-1"}
