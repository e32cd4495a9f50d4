"""A real engine whose core stands still says that it is well; what starts engines finds out all the same."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession

from stackplan.engines import PLUGINS
from tests.e2e.conftest import Demo
from tests.support.containers import frozen
from tests.support.lab import metric
from tests.support.until import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

STUCK = 70
AFTER_SECONDS = 9
CORE = "VLLM::EngineCor"  # as much of its name as the kernel keeps
GENERATED = "vllm:generation_tokens_total"


async def test_engine_whose_core_stands_still_is_found_stuck_though_its_health_is_good(demo: Demo) -> None:
    """Beside the engine's own, which waits for longer: one that ends a process of this test. Idle, it is left alone."""
    engine, model = demo.stack.engines[0], demo.stack.model
    async with ClientSession() as client, _watching(engine.name, engine.url, model) as watching:
        before = await metric(client, engine.url, GENERATED)

        async def asked() -> bool:
            return await metric(client, engine.url, GENERATED) >= before + 2

        await until(asked, "it was asked for a token, twice", 60)
        assert watching.returncode is None
        with frozen(engine.name, CORE):
            async with asyncio.timeout(300):
                said = (await watching.communicate())[1].decode()
            async with client.get(f"{engine.url}/health") as answer:
                assert answer.status == 200
        assert await watching.wait() == STUCK, said
        assert "2 requests for one token unanswered" in said
        async with client.post(f"{engine.url}/v1/completions", json={"model": model, "prompt": "On."}) as answer:
            assert answer.status == 200


@asynccontextmanager
async def _watching(container: str, url: str, model: str) -> AsyncIterator[asyncio.subprocess.Process]:
    told = ["--url", url, "--model", model, "--after", str(AFTER_SECONDS), "--most", "1"]
    remember = ["--remember", f"/tmp/{uuid.uuid4().hex}.json"]
    program = ["python3", f"{PLUGINS}/restart_stuck.py", *told, *remember, "sleep", "600"]
    watching = await asyncio.create_subprocess_exec(
        "docker", "exec", container, *program, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield watching
    finally:
        if watching.returncode is None:
            watching.kill()
            await watching.wait()
