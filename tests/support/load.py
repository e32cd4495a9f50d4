"""Conversations under load: many sessions at once, each turn recorded with what its client saw.

A turn either failed before its first byte, was cut after it, or is whole. The difference is the point: only what a
stream had begun to say may ever be lost.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from aiohttp import (
    ClientConnectionError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    TCPConnector,
)

from tests.support.until import until

End = Literal["ok", "failed", "cut"]
_TURN_SECONDS = 60.0
# Of an answer that is none: enough to see whose error it is.
_ERROR_BYTES = 500
_STREAMED: Mapping[str, object] = {"stream": True, "stream_options": {"include_usage": True}}
_WHOLE: Mapping[str, object] = {"stream": False}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One turn as its client saw it. Times are seconds; `began` is on the loop's clock."""

    session: str
    turn: int
    end: End
    status: int
    served_by: str
    reason: str
    began: float
    first_byte: float
    seconds: float
    prompt_tokens: int
    cached_tokens: int
    error: str


@dataclass(slots=True)
class Conversation:
    """One client's conversation. `header` names it; without one, only its text does."""

    name: str
    opening: str
    header: str = "x-session-id"
    messages: list[dict[str, str]] = field(default_factory=list)
    turns: int = 0


@dataclass(slots=True)
class _Reading:
    status: int = 0
    served_by: str = ""
    reason: str = ""
    first_byte: float = 0.0
    raw: bytearray = field(default_factory=bytearray)
    whole: bool = False
    error: str = ""


class Load:
    """A client of one endpoint that remembers every outcome. `body`: what every request asks for besides.

    `mixed`: of each conversation every other answer is wanted in one piece; all are streamed without it. `longest`: a
    conversation of so many messages goes on from its first turn, so that no model is ever asked to read too much.
    """

    def __init__(
        self,
        client: ClientSession,
        endpoint: str,
        model: str,
        *,
        mixed: bool = False,
        longest: int | None = None,
        **body: object,
    ) -> None:
        self.client = client
        self.endpoint = endpoint
        self.model = model
        self.mixed = mixed
        self.longest = longest
        self.body = body
        self.outcomes: list[Outcome] = []

    async def turn(self, talk: Conversation, say: str = "go on", **body: object) -> Outcome:
        """One turn; the conversation grows by what was said and answered."""
        clock = asyncio.get_running_loop().time
        messages = [*talk.messages, {"role": "user", "content": say if talk.turns else talk.opening}]
        how = _WHOLE if self.mixed and talk.turns % 2 else _STREAMED
        asked = {"model": self.model, "messages": messages, **how, **self.body, **body}
        began, reading = clock(), _Reading()
        await self._read(reading, asked, talk)
        text, prompt, cached = _said(bytes(reading.raw))
        if reading.whole:
            talk.messages = self._kept([*messages, {"role": "assistant", "content": text}])
        outcome = Outcome(
            session=talk.name,
            turn=talk.turns,
            end=_end(reading),
            status=reading.status,
            served_by=reading.served_by,
            reason=reading.reason,
            began=began,
            first_byte=reading.first_byte - began if reading.first_byte else 0.0,
            seconds=clock() - began,
            prompt_tokens=prompt,
            cached_tokens=cached,
            error=reading.error,
        )
        talk.turns += 1
        self.outcomes.append(outcome)
        return outcome

    def _kept(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        return messages[:2] if self.longest is not None and len(messages) >= self.longest else messages

    async def rounds(self, talks: Iterable[Conversation], turns: int, pause: float = 0.0) -> list[Outcome]:
        """Every conversation at once, so many turns each; returns their outcomes."""

        async def go(talk: Conversation) -> list[Outcome]:
            found = []
            for _ in range(turns):
                found.append(await self.turn(talk))
                await asyncio.sleep(pause)
            return found

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(go(talk)) for talk in talks]
        return [outcome for task in tasks for outcome in task.result()]

    async def go_on(self, turns: int, seconds: float = 30.0) -> None:
        """Return when so many further turns are over; `seconds` as `until` takes them."""
        wanted = len(self.outcomes) + turns
        await until(lambda: len(self.outcomes) >= wanted, f"{turns} further turns", seconds)

    @asynccontextmanager
    async def running(self, talks: Iterable[Conversation], pause: float = 0.02) -> AsyncIterator[None]:
        """Keep every conversation going while the block runs; turns that have begun are finished after it."""
        stop = asyncio.Event()

        async def go(talk: Conversation) -> None:
            while not stop.is_set():
                await self.turn(talk)
                await asyncio.sleep(pause)

        async with asyncio.TaskGroup() as group:
            for talk in talks:
                group.create_task(go(talk))
            try:
                yield
            finally:
                stop.set()

    async def _read(self, reading: _Reading, body: dict[str, object], talk: Conversation) -> None:
        headers = {talk.header: talk.name} if talk.header else {}
        try:
            async with self.client.post(f"{self.endpoint}/v1/chat/completions", json=body, headers=headers) as response:
                await _receive(reading, response)
        except (ClientConnectionError, ClientPayloadError, TimeoutError) as problem:
            reading.error = repr(problem)


@asynccontextmanager
async def load(
    endpoint: str, model: str, *, mixed: bool = False, longest: int | None = None, **body: object
) -> AsyncIterator[Load]:
    """A load client with as many connections as it has conversations; the rest is as `Load` has it."""
    timeout = ClientTimeout(total=_TURN_SECONDS)
    async with ClientSession(connector=TCPConnector(limit=0), timeout=timeout) as client:
        yield Load(client, endpoint, model, mixed=mixed, longest=longest, **body)


def conversations(count: int, prefix: str, words: int = 200, header: str = "x-session-id") -> list[Conversation]:
    """Conversations with openings that share nothing, about `words` words long."""
    return [
        Conversation(f"{prefix}-{number}", " ".join(f"{prefix}{number}w{at}" for at in range(words)), header)
        for number in range(count)
    ]


def ends(outcomes: Iterable[Outcome]) -> Counter[str]:
    """How many turns ended how."""
    return Counter(outcome.end for outcome in outcomes)


def homes(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """The engine of each session's last whole turn."""
    return {outcome.session: outcome.served_by for outcome in outcomes if outcome.end == "ok"}


def at_home(outcomes: Iterable[Outcome], home: dict[str, str]) -> float:
    """Share of the sessions of which every whole turn was served by its home."""
    strayed = {one.session for one in outcomes if one.end == "ok" and one.served_by != home[one.session]}
    return 1 - len(strayed) / len(home)


def since(outcomes: Iterable[Outcome], when: float) -> list[Outcome]:
    """The turns that began at or after a moment of the loop's clock."""
    return [outcome for outcome in outcomes if outcome.began >= when]


def hit_ratio(outcomes: Iterable[Outcome], wanted: Callable[[Outcome], bool] = lambda _: True) -> float:
    """Prompt tokens found in an engine's cache, as a share of all."""
    chosen = [outcome for outcome in outcomes if outcome.end == "ok" and wanted(outcome)]
    return sum(one.cached_tokens for one in chosen) / max(sum(one.prompt_tokens for one in chosen), 1)


async def _receive(reading: _Reading, response: ClientResponse) -> None:
    clock = asyncio.get_running_loop().time
    reading.status = response.status
    reading.served_by = response.headers.get("x-served-by", "")
    reading.reason = response.headers.get("x-route-reason", "")
    async for chunk in response.content.iter_any():
        reading.first_byte = reading.first_byte or clock()
        reading.raw += chunk
    streamed = response.content_type == "text/event-stream"
    done = bytes(reading.raw[-32:]).endswith(b"data: [DONE]\n\n") if streamed else bool(reading.raw)
    reading.whole = response.status == 200 and done
    if response.status != 200:
        reading.error = bytes(reading.raw[:_ERROR_BYTES]).decode(errors="replace")


def _end(reading: _Reading) -> End:
    if reading.whole:
        return "ok"
    return "cut" if reading.status == 200 and reading.first_byte else "failed"


def _said(raw: bytes) -> tuple[str, int, int]:
    """What was said, and of the prompt how many tokens there were and how many were cached."""
    text, prompt, cached = [], 0, 0
    for line in raw.split(b"\n"):
        piece = line.removeprefix(b"data: ")
        if not piece.startswith(b"{") or not piece.endswith(b"}"):
            continue
        chunk = msgspec.json.decode(piece)
        # A piece of a stream, or the whole of an answer.
        spoken = [choice.get("delta") or choice.get("message") or {} for choice in chunk.get("choices", [])]
        text += [one.get("content") or "" for one in spoken]
        if usage := chunk.get("usage"):
            # A real engine that found nothing in its cache gives no details.
            details = usage.get("prompt_tokens_details") or {}
            prompt, cached = usage["prompt_tokens"], details.get("cached_tokens") or 0
    return "".join(text), prompt, cached
