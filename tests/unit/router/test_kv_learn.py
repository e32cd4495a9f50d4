"""Prompts are learnt in tokens beside the request path, within bounds, and only those that engines compute as sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from router.kv_index import KvIndex
from router.kv_learn import Learner, LearnMetrics
from router.kv_wire import BlockStored
from router.parse import Ask, ParseSettings, Request, parse
from tests.support.beside import beside
from tests.support.until import until

SETTINGS = ParseSettings(("m",), names={"tuned": "m"})
TEXT = "a long way to go " * 200


class Tokenizer:
    """An engine that turns octets into tokens, one each; `hold` keeps it from answering, `status` is what it says."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.status = 200
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        self.keys.append(request.headers.get("authorization", ""))
        await self.hold.wait()
        return web.json_response({"count": 1, "tokens": tokens(body)}, status=self.status)


def tokens(body: dict[str, Any]) -> list[int]:
    return list(json.dumps(body.get("messages") or body["prompt"]).encode())


@asynccontextmanager
async def learning(**settings: Any) -> AsyncIterator[tuple[Learner, Tokenizer, KvIndex]]:
    tokenizer, index = Tokenizer(), KvIndex()
    index.follow("e", "m")
    index.begin("e", whole=True)
    index.apply("e", [BlockStored([1], None, list(range(16)), 16)])
    app = web.Application()
    app.router.add_post("/tokenize", tokenizer.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    tokenizer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    learner = Learner(index, lambda engine: tokenizer.url if engine == "e" else "", **settings)
    try:
        async with beside(learner.run()):
            yield learner, tokenizer, index
    finally:
        tokenizer.hold.set()
        await runner.cleanup()


def request(path: str = "/v1/chat/completions", *, size: int = 0, tenant: str = "-", **members: Any) -> Request:
    asked = {"messages": [{"role": "user", "content": TEXT}]} if path.endswith("chat/completions") else {"prompt": TEXT}
    body = json.dumps({"model": "m", **asked, **members}).encode()
    return Request("r", "POST", path, "application/json", "", "", tenant, size or len(body), body)


def offer(learner: Learner, asked: Request, engine: str = "e") -> Ask:
    ask = parse(asked, SETTINGS)
    assert ask.blocks
    learner.offer(ask, asked, engine)
    return ask


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_prompt_is_found_again_where_an_engine_says_it_is(path: str) -> None:
    """What the engine holds in its own words is what the router knows in octets."""
    async with learning(engine_key="secret") as (learner, tokenizer, index):
        ask = offer(learner, request(path, temperature=1, stream=True))
        await until(lambda: learner.counts["learnt"] == 1, "learnt")
        wanted = tokenizer.asked[0]
        assert set(wanted) == {"model", "messages" if path.endswith("chat/completions") else "prompt"}
        assert tokenizer.keys == ["Bearer secret"]
        held = tokens(wanted)
        whole = len(held) // 16
        index.apply("e", [BlockStored(list(range(100, 100 + whole)), None, held[: whole * 16], 16)])
        assert index.correct({}, ask.blocks, ask.ends) == {"e": ask.ends[-1]}


async def test_a_prompt_that_is_known_is_not_asked_for_again() -> None:
    """Nor are two of the same that wait at once."""
    async with learning() as (learner, tokenizer, _):
        offer(learner, request())
        await until(lambda: learner.counts["learnt"] == 1, "learnt")
        offer(learner, request())
        assert not learner._waiting
        assert len(tokenizer.asked) == 1


@pytest.mark.parametrize(
    "asked",
    [
        request(cache_salt="x"),
        request(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": TEXT}}]}]),
        request("/v1/completions", prompt=[TEXT, TEXT]),
    ],
)
async def test_what_an_engine_computes_otherwise_is_skipped(asked: Request) -> None:
    async with learning() as (learner, tokenizer, index):
        offer(learner, asked)
        await until(lambda: learner.counts["skipped"] == 1, "skipped")
        assert (tokenizer.asked, len(index)) == ([], 0)


@pytest.mark.parametrize(
    ("asked", "engine"),
    [
        (request(tenant="salty"), "e"),
        (request(model="tuned"), "e"),
        (request(size=1_000_000), "e"),
        (request("/v1/responses", input=TEXT), "e"),
        (request(), "silent"),
    ],
)
async def test_what_cannot_be_learnt_is_not_even_kept(asked: Request, engine: str) -> None:
    async with learning(salted=["salty"]) as (learner, _, _):
        offer(learner, asked, engine)
        assert not learner._waiting


async def test_prompts_that_wait_are_bounded_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not answer costs some prompts that are not learnt, never memory."""
    monkeypatch.setattr("router.kv_learn._MOST_OCTETS", 3 * len(request().body))
    async with learning() as (learner, tokenizer, _):
        tokenizer.hold.clear()
        for number in range(6):
            offer(learner, request(tools=[number]))
            await asyncio.sleep(0)
        assert learner._octets <= 3 * len(request().body) + 100
        assert learner.counts["dropped"] > 0
        tokenizer.hold.set()
        await until(lambda: learner._octets == 0 and learner.counts["learnt"] >= 3, "everything was learnt")


async def test_an_engine_that_refuses_or_is_gone_ends_nothing() -> None:
    """The next prompt is learnt."""
    async with learning() as (learner, tokenizer, _):
        tokenizer.status = 500
        offer(learner, request(tools=[1]))
        await until(lambda: learner.counts["failed"] == 1, "failed")
        url, tokenizer.url = tokenizer.url, "http://127.0.0.1:9"
        offer(learner, request(tools=[2]))
        await until(lambda: learner.counts["failed"] == 2, "failed again")
        tokenizer.status, tokenizer.url = 200, url
        offer(learner, request(tools=[3]))
        await until(lambda: learner.counts["learnt"] == 1, "learnt")
        registry = CollectorRegistry(auto_describe=False)
        registry.register(LearnMetrics(learner))
        assert 'ironrack_router_kv_prompts_total{result="failed"} 2.0' in generate_latest(registry).decode()
