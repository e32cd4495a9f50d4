"""A real engine that tells what its KV cache holds, started as the plan says: what the router makes of that is true."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests

import stackplan
from router.config import check
from router.fleet_settings import EngineSnapshot
from router.kv_caches import Caches
from router.liveness import State
from router.parse import Ask, ParseSettings, Request, parse
from tests.e2e.conftest import Demo, wait_for_engine
from tests.support.beside import beside
from tests.support.processes import ROOT, free_ports
from tests.support.until import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

NAME = "kv-test-engine"
BLOCKS = 40  # of 128 tokens: a few prompts fill the cache
SYSTEM = "You are a careful clerk who writes everything down twice and reads it three times. " * 16
PATH = "/v1/chat/completions"


@dataclass
class Engine:
    """One container, and how a router is told of it."""

    config: dict[str, Any]
    url: str

    def chat(self, request: Request) -> int:
        """Answer a request; return how many of its tokens were cached."""
        headers = {"content-type": "application/json"}
        answer = requests.post(f"{self.url}{PATH}", data=request.body, headers=headers, timeout=300)
        assert answer.status_code == 200, answer.text
        details = answer.json()["usage"]["prompt_tokens_details"]
        return int(details["cached_tokens"] or 0) if details else 0

    def restart(self) -> None:
        """Another process, with an empty cache."""
        subprocess.run(["docker", "restart", "--time", "20", NAME], capture_output=True, check=True)
        wait_for_engine(NAME, self.url)


class Router:
    """The part of a router that listens."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.life = 1
        self.caches = Caches(lambda: [self._snapshot()], asyncio.get_running_loop().time)
        self.caches.configure(check(engine.config), "")

    def _snapshot(self) -> EngineSnapshot:
        named = self.engine.config["engines"][0]["name"]
        found = EngineSnapshot(
            named,
            self.engine.url,
            "tiny",
            State.READY,
            False,
            True,
            0,
            0,
            1.0,
            0.0,
            epoch=self.life,
            failures=0,
            probe_failures=0,
        )
        return replace(found, cache_tokens=BLOCKS * 128)

    @property
    def name(self) -> str:
        return self._snapshot().name

    async def chat(self, words: str, system: str = SYSTEM) -> tuple[Ask, int]:
        """Have a conversation's turn answered and learnt; return it, and how many of its tokens were cached."""
        request = _request(words, system)
        ask = parse(request, ParseSettings(("tiny",)))
        cached = await asyncio.to_thread(self.engine.chat, request)
        index, learner = self.caches.index, self.caches.learner
        await until(lambda: index.block_size("tiny") > 0, "the engine told of a block", 60)
        learner.offer(ask, request, self.name)
        await until(lambda: index.knows(ask.blocks), f"the prompt is learnt ({learner.counts})", 60)
        return ask, cached

    def held(self, ask: Ask, believed: int = 0) -> int:
        """Estimated tokens of a prompt that the engine holds, if `believed` was believed before."""
        return self.caches.index.correct({self.name: believed}, ask.blocks, ask.ends).get(self.name, 0)


def _request(words: str, system: str) -> Request:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": words}]
    body = json.dumps({"model": "tiny", "messages": messages, "max_tokens": 2, "temperature": 0}).encode()
    return Request("r", "POST", PATH, "application/json", "", "", "-", len(body), body)


def _planned(image: str, model: str, ports: list[int], root: Path) -> dict[str, Any]:
    intent = {
        "stack_models": [{"name": "tiny", "source": model, "max_model_len": 2048}],
        "stack_engines": {
            "device": "cpu",
            "image": image,
            "base_port": ports[0],
            "kv_events_base_port": ports[1],
            "cpu_kv_cache_gib": 1,
            "cache_directory": str(root / "cache"),
            "args": ["--enforce-eager", "--num-gpu-blocks-override", str(BLOCKS)],
        },
        "stack_router": {"kv_events": True},
    }
    return stackplan.plan(intent, [{"name": "box", "groups": ["edge", "engines"]}], root=str(root))


def _run(service: dict[str, Any]) -> list[str]:
    line = ["docker", "run", "--detach", "--name", NAME, "--network", "host", "--ipc", service["ipc"] or "host"]
    line += [f"--env={name}={value}" for name, value in service["env"].items()]
    line += [f"--volume={m['source']}:{m['target']}{':ro' if m['read_only'] else ''}" for m in service["mounts"]]
    line += ["--entrypoint", service["entrypoint"][0], service["image"], *service["entrypoint"][1:]]
    return [*line, *service["command"]]


@pytest.fixture(scope="module")
def engine(brought_up: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Another engine of the demonstration's image and model, with a small cache of which it tells."""
    inspected = ["docker", "inspect", "--format", "{{.Config.Image}} {{index .Config.Cmd 0}}"]
    found = subprocess.run([*inspected, brought_up.stack.engines[0].name], capture_output=True, text=True, check=True)
    image, model = found.stdout.split()
    root, ports = tmp_path_factory.mktemp("engine"), free_ports(3)  # the last one for replays
    planned = _planned(image, model, ports, root)
    service = next(service for service in planned["services"] if service["kind"] == "engine")
    (root / "engine").symlink_to(ROOT / "roles" / "engine" / "files")
    subprocess.run(["docker", "rm", "--force", NAME], capture_output=True, check=False)
    try:
        subprocess.run(_run(service), capture_output=True, check=True)
        url = f"http://127.0.0.1:{ports[0]}"
        wait_for_engine(NAME, url)
        yield Engine(stackplan.router_config(planned, "box"), url)
    finally:
        subprocess.run(["docker", "rm", "--force", NAME], capture_output=True, check=False)


@asynccontextmanager
async def listening(engine: Engine) -> AsyncIterator[Router]:
    router = Router(engine)
    async with beside(router.caches.events.run(), router.caches.learner.run()):
        yield router


async def test_what_the_router_knows_of_a_prompt_is_what_the_engine_finds_in_its_cache(engine: Engine) -> None:
    """To the block: known depth times block size is what the engine itself reports as cached."""
    async with listening(engine) as router:
        first, _ = await router.chat("What did you write down on Monday? " * 20)
        await until(lambda: router.held(first) == first.ends[-1], "the engine told that it holds the prompt", 60)
        assert router.caches.index.is_whole(router.name)
        again, cached = await router.chat("What did you write down on Monday? " * 20)
        depth = router.caches.index._known[again.blocks[-1]].depth * router.caches.index.block_size("tiny")
        assert 0 < depth <= cached <= depth + 1024  # the last octets have no block


async def test_a_shared_beginning_is_held_and_no_more(engine: Engine) -> None:
    """Another conversation's system prompt: known to be there before it was ever sent anywhere."""
    async with listening(engine) as router:
        first, _ = await router.chat("Tell me of the sea. " * 30)
        await until(lambda: router.held(first) == first.ends[-1], "the first is held", 60)
        other = parse(_request("Tell me of the wind. " * 30, SYSTEM), ParseSettings(("tiny",)))
        shared = router.held(other)
        assert 0 < shared < other.ends[-1]


async def test_what_the_engine_forgot_is_believed_no_more(engine: Engine) -> None:
    """However much was believed to be there: the engine then computes it anew, as was known."""
    async with listening(engine) as router:
        first, _ = await router.chat("Who was there, and who was not? " * 20, system="Be brief. " * 60)
        await until(lambda: router.held(first) == first.ends[-1], "the first is held", 60)
        others = 0
        while router.held(first, first.prompt_tokens):
            others += 1
            assert others < 60
            await router.chat(f"{others} green bottles. " * 60, system=f"Number {others}. " * 60)
        _, cached = await router.chat("Who was there, and who was not? " * 20, system="Be brief. " * 60)
        assert cached == 0


async def test_a_router_that_comes_later_hears_what_it_missed(engine: Engine) -> None:
    """The engine remembers what it told, so that the second router knows as much as the first."""
    async with listening(engine) as first:
        await first.chat("Say it again. " * 40)
        blocks = first.caches.index.blocks(first.name)
        async with listening(engine) as second:
            await until(lambda: second.caches.index.blocks(second.name) == blocks, "all was said again", 60)
            assert second.caches.index.is_whole(second.name)


async def test_an_engine_that_starts_again_holds_nothing_until_it_tells(engine: Engine) -> None:
    """By its numbers, which begin again, or by the prober's word, whichever comes first."""
    async with listening(engine) as router:
        first, _ = await router.chat("Once more, please. " * 40)
        await until(lambda: router.held(first) == first.ends[-1], "the first is held", 60)
        await asyncio.to_thread(engine.restart)
        router.life += 1
        await until(
            lambda: router.caches.index.is_whole(router.name) and not router.caches.index.blocks(router.name),
            "the cache is known to be empty",
            60,
        )
        assert router.held(first, first.prompt_tokens) == 0 or not router.caches.index._last(first.blocks) >= 0
        again, cached = await router.chat("Once more, please. " * 40)
        assert cached == 0
        await until(lambda: router.held(again) == again.ends[-1], "it is held again", 60)
