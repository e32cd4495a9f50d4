"""Headers of an answer wait for its first byte, so that a request without an answer can still be sent elsewhere."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from tests.support.loading import module_at
from tests.support.processes import ROOT

MODULE = module_at(ROOT / "roles" / "engine" / "files" / "hold_headers.py")
START = {"type": "http.response.start", "status": 200, "headers": []}

Message = MutableMapping[str, Any]


async def _sent(messages: list[Message], kind: str = "http") -> list[Message]:
    """What the server sees after each of the application's messages, flattened."""
    seen: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
            seen.append({"type": "mark"})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        seen.append(message)

    await MODULE.HoldHeaders(app)({"type": kind}, receive, send)
    return seen


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_headers_leave_with_the_first_byte() -> None:
    """Nothing is sent until a body byte exists; then the headers go first."""
    first = _body(b"data: x", more=True)
    assert await _sent([START, first]) == [{"type": "mark"}, START, first, {"type": "mark"}]


async def test_an_empty_chunk_does_not_release_the_headers() -> None:
    """An empty body message with more to come is not a first byte."""
    last = _body(b"y", more=False)
    sent = await _sent([START, _body(b"", more=True), last])
    assert [message for message in sent if message["type"] != "mark"] == [START, last]
    assert sent[:2] == [{"type": "mark"}, {"type": "mark"}]


async def test_an_answer_without_a_body_still_ends() -> None:
    """A last, empty body message (204, HEAD) releases the headers."""
    end = _body(b"", more=False)
    assert [m for m in await _sent([START, end]) if m["type"] != "mark"] == [START, end]


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_other_protocols_pass_untouched(kind: str) -> None:
    """Only HTTP answers are held."""
    accept = {"type": "websocket.accept"}
    assert await _sent([accept], kind) == [accept, {"type": "mark"}]
