"""A client hangs up: the engine stops computing for nobody."""

import asyncio

import pytest

from tests.chaos.conftest import Start
from tests.support.until import until

pytestmark = pytest.mark.lab
ENDLESS = {"max_tokens": 4_000, "ignore_eos": True}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after_first_token", [True, False])
async def test_engine_sees_the_client_hang_up(start: Start, stream: bool, after_first_token: bool) -> None:
    """Streamed or not, before its first token or after: the abort reaches the engine within a second."""
    lab, load = await start(1, "--decode-seconds", "0.01")
    (engine,) = lab.engines
    await lab.sim(engine, freeze=not after_first_token)
    body = {"model": lab.model, "messages": [{"role": "user", "content": "tell"}], "stream": stream, **ENDLESS}

    async def ask() -> None:
        async with load.client.post(f"{lab.endpoint}/v1/chat/completions", json=body) as response:
            await response.read()

    async def at_work() -> bool:
        found = await lab.sim(engine)
        return bool(found["requests"] == 1 and (found["running"] or not after_first_token))

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask())
        await until(at_work, "the engine has the request")
        asking.cancel()

    async def aborted() -> bool:
        return bool((await lab.sim(engine))["aborted"] == 1)

    await until(aborted, "the engine sees the abort", 1.0)
    await until(lab.idle, "no load is left at the router")
