"""The tokens of prompts that were served, from an engine's own `/tokenize`: off the request path, a few at a time.

Nobody waits for it. Prompts that wait to be tokenized are bounded by number and octets; what does not fit is left out,
and the approximate index answers for it. Left out is also what an engine does not compute as it was sent: adapters,
salts, forms, pictures, and what was not seen whole. A prompt is let go as soon as it was sent.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import aiohttp
import msgspec
from msgspec import Raw
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.exposition import PREFIX
from router.kv_index import KvIndex
from router.parse import Ask, Request

logger = logging.getLogger(__name__)

_CHAT, _TEXT = "/v1/chat/completions", "/v1/completions"
_PARTS = {
    _CHAT: (
        "messages",
        "tools",
        "add_generation_prompt",
        "continue_final_message",
        "add_special_tokens",
        "chat_template",
        "chat_template_kwargs",
    ),
    _TEXT: ("prompt", "add_special_tokens"),
}
_MOST_WAITING = 256
_MOST_OCTETS = 8_388_608
_MOST_ANSWER = 16_777_216
_AT_ONCE = 2
_TIMEOUT_SECONDS = 10.0
_PICTURES = (b'"image_url"', b'"input_audio"', b'"video_url"')
_MEMBERS: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


class _Tokens(msgspec.Struct, gc=False):
    tokens: list[int]


_TOKENS = msgspec.json.Decoder(_Tokens)


@dataclass(frozen=True, slots=True)
class _Prompt:
    url: str
    ask: Ask
    path: str
    body: bytes


class Learner:
    """Learns what prompts are in tokens. `url`: an engine's address, empty where it tells nothing of its cache.

    `salted`: tenants whose prompts the edge marks as theirs alone, which then are other blocks than their tokens say.
    """

    def __init__(
        self, index: KvIndex, url: Callable[[str], str], *, salted: Iterable[str] = (), engine_key: str = ""
    ) -> None:
        self._index = index
        self._url = url
        self._waiting: deque[_Prompt] = deque()
        self._octets = 0
        self._some = asyncio.Event()
        self.salted = frozenset(salted)
        self.engine_key = engine_key
        self.counts: Counter[str] = Counter()

    def offer(self, ask: Ask, request: Request, engine: str) -> None:
        """`engine` is going to compute this prompt. Takes a few microseconds, and never waits."""
        if self._index.knows(ask.blocks) or not self._fits(ask, request):
            return
        url = self._url(engine)
        if not url or not self._index.block_size(ask.model):
            return
        if len(self._waiting) >= _MOST_WAITING or self._octets + len(request.body) > _MOST_OCTETS:
            self.counts["dropped"] += 1
            return
        self._waiting.append(_Prompt(url, ask, request.path, request.body))
        self._octets += len(request.body)
        self._some.set()

    async def run(self) -> None:
        """Learn until cancelled."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as group:
            for number in range(_AT_ONCE):
                group.create_task(self._work(http), name=f"tokenizer {number}")

    def _fits(self, ask: Ask, request: Request) -> bool:
        return (
            request.path in _PARTS
            and request.size <= len(request.body)
            and not ask.adapter
            and (request.tenant not in self.salted)
        )

    async def _work(self, http: aiohttp.ClientSession) -> None:
        while True:
            while not self._waiting:
                self._some.clear()
                await self._some.wait()
            prompt = self._waiting.popleft()
            self._octets -= len(prompt.body)
            if not self._index.knows(prompt.ask.blocks):  # another turn of it may have been quicker
                self.counts[await self._learnt(http, prompt)] += 1

    async def _learnt(self, http: aiohttp.ClientSession, prompt: _Prompt) -> str:
        try:
            wanted = _question(prompt.path, prompt.body)
            if wanted is None:
                return "skipped"
            tokens = await self._tokens(http, prompt.url, wanted)
            ask = prompt.ask
            size = self._index.block_size(ask.model)
            if not tokens or not size:
                return "failed"
            self._index.learn(
                ask.model, ask.blocks, ask.ends, prompt_tokens=ask.prompt_tokens, tokens=tokens, size=size
            )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError):
            return "failed"
        except Exception:  # one odd prompt must not end the learning
            logger.exception("a prompt could not be learnt: going on with the next")
            return "failed"
        return "learnt"

    async def _tokens(self, http: aiohttp.ClientSession, url: str, wanted: bytes) -> list[int]:
        headers = {"content-type": "application/json"}
        if self.engine_key:
            headers["authorization"] = f"Bearer {self.engine_key}"
        async with http.post(f"{url}/tokenize", data=wanted, headers=headers, allow_redirects=False) as answer:
            if answer.status != 200:
                return []
            octets = bytearray()
            while piece := await answer.content.readany():
                octets += piece
                if len(octets) > _MOST_ANSWER:
                    return []
        return _TOKENS.decode(octets).tokens


def _question(path: str, body: bytes) -> bytes | None:
    """What to ask `/tokenize` about a request; None where its tokens would not be those that are computed."""
    members = _MEMBERS.decode(body)
    if "cache_salt" in members or any(mark in body for mark in _PICTURES):
        return None
    prompt = members.get(_PARTS[path][0])
    if prompt is None or (path == _TEXT and not bytes(prompt).lstrip().startswith(b'"')):
        return None
    return msgspec.json.encode({name: members[name] for name in ("model", *_PARTS[path]) if name in members})


class LearnMetrics(Collector):
    """What became of prompts, as a Prometheus family."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known without a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Build the family."""
        family = CounterMetricFamily(f"{PREFIX}_kv_prompts", "Prompts to learn in tokens.", labels=("result",))
        for result in ("learnt", "skipped", "failed", "dropped"):
            family.add_metric((result,), self._learner.counts[result])
        yield family
