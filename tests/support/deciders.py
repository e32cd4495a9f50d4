"""A lab with several routers beside one edge: what all of them know together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.support.lab import PATIENCE_MILLISECONDS, Lab, is_free, metric, run
from tests.support.load import Load, load
from tests.support.until import until

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
        return await metric(self.lab.client, url, name, **labels)

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
        found = [one["state"] for url in self.urls.values() for one in await self.engines(url)]
        return set(found) == {"ready"}

    async def idle(self) -> bool:
        """Whether no router counts anything anywhere, its own or of others."""
        fields = ("in_flight", "uncached_tokens", "foreign_in_flight", "foreign_uncached_tokens")
        found = [one[field] for url in self.urls.values() for one in await self.engines(url) for field in fields]
        return not any(found)


@asynccontextmanager
async def deciding(state: Path, deciders: int, engines: int, *options: str) -> AsyncIterator[Deciders]:
    """A lab with so many routers and engines that all see each other; it is gone after the block."""
    where = ("--state", str(state))
    asked = ("--deciders", str(deciders), "--engines", str(engines), "--port", str(_span()))
    async with AsyncExitStack() as stack:
        stack.callback(run, "down", *where)
        report = run("up", *where, *asked, "--decide-milliseconds", PATIENCE_MILLISECONDS, "--", *options)
        client = await stack.enter_async_context(ClientSession())
        lab = Lab(state, report, client)
        found = Deciders(lab, await stack.enter_async_context(load(lab.endpoint, lab.model)), deciders)
        await until(found.all_ready, "every router sees every engine", 30)
        yield found


def _span() -> int:
    for first in range(_FIRST + os.getpid() % 90 * _PORTS, _LAST, _PORTS):
        if all(is_free(port) for port in range(first, first + _PORTS)):
            return first
    raise AssertionError(f"no {_PORTS} neighbouring free ports between {_FIRST} and {_LAST}")
