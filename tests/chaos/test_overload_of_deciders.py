"""More work than the engines can take, two routers beside one edge: caps hold for both together, nobody is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientConnectionError

from tests.support.deciders import Deciders, deciding
from tests.support.lab import put
from tests.support.until import until

pytestmark = pytest.mark.lab

ROUTERS, ENGINES, CAP = 2, 2, 4
ROOM = ENGINES * CAP
ENDLESS = 4000
ANSWER_SECONDS = 50.0  # far more than queue and service take: who waits longer hangs
RELOADED = "ironrack_router_config_reloads_total"
REFUSED = "ironrack_router_rejections_total"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client saw. `retry_after`: when it is to come again; `whole`: it got all it asked for."""

    status: int
    retry_after: str
    reason: str
    whole: bool


async def _send(lab: Deciders, number: int, tokens: int) -> Answer:
    """A request of a session of its own: sessions are spread over the routers."""
    said = [{"role": "user", "content": f"{number} words"}]
    body = {"model": lab.lab.model, "messages": said, "max_tokens": tokens, "ignore_eos": True}
    url, named = f"{lab.lab.endpoint}/v1/chat/completions", {"x-session-id": f"o-{number}"}
    async with lab.load.client.post(url, json=body, headers=named) as response:
        text = await response.json()
        after, reason = (response.headers.get(name, "") for name in ("retry-after", "x-route-reason"))
        return Answer(response.status, after, reason, "choices" in text)


async def _ask(lab: Deciders, number: int) -> Answer:
    async with asyncio.timeout(ANSWER_SECONDS):
        return await _send(lab, number, 20)


async def _capped(lab: Deciders, **admission: int) -> None:
    """Give every router these limits, through the file that each follows."""
    for router in lab.urls:
        path = lab.lab.state / f"{router}.yml"
        settings: dict[str, Any] = yaml.safe_load(path.read_text())
        put(path, yaml.safe_dump({**settings, "admission": {**settings.get("admission", {}), **admission}}))

    async def in_force() -> bool:
        return min([await lab.metric(url, RELOADED, result="ok") for url in lab.urls.values()]) >= 1

    await until(in_force, "every router has the limits")


async def _at_engines(lab: Deciders) -> dict[str, int]:
    """Requests that the engines themselves have now, whoever sent them."""
    found = {engine: await lab.lab.sim(engine) for engine in lab.lab.engines}
    return {engine: int(said["running"] + said["waiting"]) for engine, said in found.items()}


def _polite(answers: Iterable[Answer]) -> bool:
    return all(one.status in {429, 503} and int(one.retry_after) >= 1 for one in answers)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Deciders]:
    """Two routers, two engines."""
    async with deciding(tmp_path / "lab", ROUTERS, ENGINES, "--decode-seconds", "0.02") as found:
        yield found


async def test_what_one_router_sent_fills_the_engines_for_the_other(lab: Deciders) -> None:
    """Filled one by one, exactly as much is let in as the engines may have, whoever decided; the rest is told when."""
    await _capped(lab, max_requests=CAP, queue_capacity=0)

    async def known(count: int) -> bool:
        """Whether every router counts so many, its own and the other's together."""
        found = [await lab.engines(url) for url in lab.urls.values()]
        return {sum(one["in_flight"] + one["foreign_in_flight"] for one in engines) for engines in found} == {count}

    async def hold(number: int) -> None:
        with suppress(ClientConnectionError):  # held until it is cancelled
            await _send(lab, number, ENDLESS)

    async with asyncio.TaskGroup() as group:
        held = []
        for number in range(ROOM):
            held.append(group.create_task(hold(number)))
            await until(partial(known, number + 1), "both routers know of it", 20)
        refused = [await _ask(lab, number) for number in range(ROOM, ROOM + 16)]
        assert await _at_engines(lab) == dict.fromkeys(lab.lab.engines, CAP)
        for one in held:
            one.cancel()
    assert {one.status for one in refused} == {429}
    assert _polite(refused)
    # Both of them have let in and refused.
    for url in lab.urls.values():
        assert await lab.metric(url, "ironrack_router_decisions_total") > 0
        assert await lab.metric(url, REFUSED) > 0
    await until(lab.idle, "no load is left at any router", 20)


async def test_overload_of_two_routers_is_served_or_refused_with_retry_after(lab: Deciders) -> None:
    """All at once: nobody is lost, no router lets in more than the cap, and afterwards nothing is held."""
    await _capped(lab, max_requests=CAP, queue_capacity=8, queue_seconds=2)
    most = dict.fromkeys(lab.lab.engines, 0)

    async def watch() -> None:
        while True:
            for engine, count in (await _at_engines(lab)).items():
                most[engine] = max(most[engine], count)
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        answers = await asyncio.gather(*(_ask(lab, number) for number in range(120)))
        watching.cancel()
    served = [one for one in answers if one.status == 200]
    refused = [one for one in answers if one.status != 200]
    assert served
    assert all(one.whole for one in served)
    assert 429 in {one.status for one in refused}
    assert _polite(refused)
    # Routers see each other's requests a moment later: until then each fills the engines by itself. What the edge
    # places by itself, because a router was slow, knows no cap.
    alone = sum(one.reason == "fallback" for one in served)
    assert max(most.values()) <= ROUTERS * CAP + alone
    await until(lab.idle, "no load is left at any router", 20)
    assert (await _ask(lab, 121)).whole
