"""More work than the engines can take: what is refused is refused at once and politely, what is taken is served."""

import asyncio

import pytest
import yaml
from aiohttp import ClientSession

from tests.chaos.conftest import Start
from tests.support.lab import Lab
from tests.support.until import until

pytestmark = pytest.mark.lab
ANSWER_SECONDS = 50.0  # far more than queue and service take: who waits longer hangs


async def _ask(client: ClientSession, lab: Lab, number: int) -> tuple[int, str, bool]:
    """Status, Retry-After, and whether the answer was whole."""
    body = {"model": lab.model, "messages": [{"role": "user", "content": f"{number} words"}], "max_tokens": 40}
    async with asyncio.timeout(ANSWER_SECONDS):
        async with client.post(f"{lab.endpoint}/v1/chat/completions", json=body) as response:
            text = await response.json()
            return response.status, response.headers.get("retry-after", ""), "choices" in text


async def _decided(client: ClientSession, lab: Lab) -> bool:
    body = {"model": lab.model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
    async with client.post(f"{lab.endpoint}/v1/chat/completions", json=body) as response:
        return response.headers.get("x-route-reason") not in {None, "fallback"}


@pytest.mark.parametrize("queue", [0, 8])
async def test_overload_is_served_or_refused_with_retry_after(start: Start, queue: int) -> None:
    """Every request is answered whole, or told 429 or 503 and when to come again; afterwards nothing is held."""
    lab, load = await start(2, "--decode-seconds", "0.02")
    path = lab.state / "router.yml"
    settings = yaml.safe_load(path.read_text())
    admission = {"max_requests": 4, "queue_capacity": queue, "queue_seconds": 2}
    path.write_text(yaml.safe_dump({**settings, "admission": {**settings.get("admission", {}), **admission}}))
    await asyncio.to_thread(lab.restart, "router")
    await until(lab.all_ready, "every engine is ready", 30)
    await until(lambda: _decided(load.client, lab), "the edge asks the router again", 30)
    asked = await asyncio.gather(*(_ask(load.client, lab, number) for number in range(80)))
    served = [one for one in asked if one[0] == 200]
    refused = [one for one in asked if one[0] != 200]
    assert served
    assert all(whole for _, _, whole in served)
    assert {status for status, _, _ in refused} <= {429, 503}
    assert 429 in {status for status, _, _ in refused}
    assert all(int(after) >= 1 for _, after, _ in refused)
    await until(lab.idle, "no load is left at the router")
    assert (await _ask(load.client, lab, 81))[0] == 200
