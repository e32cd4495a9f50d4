"""The whole router with engines that tell: what is asked is learnt, what is told is heard, and both show."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from router.app import Addresses, Router
from router.config import check
from router.kv_wire import BlockStored
from router.spop import Notify, Value
from tests.support.kv_publisher import KvPublisher
from tests.support.until import until

TEXT = "a long way to go " * 200
BODY = json.dumps({"messages": [{"role": "user", "content": TEXT}], "model": "m"}).encode()
TOKENS = list(BODY)
ASK: dict[str, Value] = {"id": "r", "method": "POST", "path": "/v1/chat/completions", "size": len(BODY), "body": BODY}


@asynccontextmanager
async def engine() -> AsyncIterator[str]:
    """An engine that is healthy, and turns every prompt into the same tokens."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"tokens": TOKENS} if request.path == "/tokenize" else {})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(url: str, publisher: KvPublisher) -> AsyncIterator[tuple[Router, Addresses]]:
    feed = {"endpoint": publisher.endpoint, "replay": publisher.replay}
    settings = {
        "listen": {"spop": "127.0.0.1:0", "http": "127.0.0.1:0", "events": "127.0.0.1:0"},
        "models": [{"name": "m", "backend": "model-m"}],
        "engines": [{"name": "e", "url": url, "model": "m", "kv_events": feed}],
        "routing": {"kv_events": True},
    }
    router, stop = Router(check(settings)), asyncio.Event()
    started: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(router.serve(stop, started.set_result))
        try:
            yield router, await started
        finally:
            stop.set()


async def test_a_prompt_that_is_asked_for_is_learnt_and_found_where_it_is_told_to_be() -> None:
    """From the edge's question to the metrics, over real sockets."""
    blocks = len(TOKENS) // 16
    async with KvPublisher() as publisher, engine() as url, aiohttp.ClientSession() as http:
        await publisher.publish(BlockStored(list(range(blocks)), None, TOKENS[: blocks * 16], 16))
        async with serving(url, publisher) as (router, addresses):

            async def shown(name: str) -> float:
                async with http.get(f"http://{addresses.http}/metrics") as answer:
                    text = await answer.text()
                found = re.search(rf"^ironrack_router_{re.escape(name)} ([0-9.e+]+)$", text, re.MULTILINE)
                return float(found[1]) if found else -1.0

            async def heard() -> bool:
                return await shown('kv_blocks{engine="e"}') == blocks

            async def learnt() -> bool:
                return await shown('kv_prompts_total{result="learnt"}') == 1

            await until(heard, "the engine's blocks are known", 60)
            assert (router.answers.answer(Notify(1, 1, {"ask": ASK}), 1.0) or {}).get("server") == "e"
            await until(learnt, "the prompt is learnt", 60)
            assert await shown('kv_whole{engine="e"}') == 1
            assert await shown("kv_prompt_blocks") > 0
