"""Holds an answer's headers until its first body byte exists.

An engine sends the headers of a stream before it has computed anything. Whoever has seen headers cannot be sent
elsewhere any more: an engine that dies during prefill would then break a request that nobody has answered yet.
With the headers held, the edge sees an empty connection and gives the request to another engine.

Loaded by vLLM through `--middleware hold_headers.HoldHeaders`; standard library only, any Python from 3.10.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class HoldHeaders:
    """ASGI middleware: `http.response.start` goes out together with the first non-empty or last body message."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass everything that is not an HTTP request through untouched."""
        if scope["type"] == "http":
            send = _holding(send)
        await self.app(scope, receive, send)


def _holding(send: Send) -> Send:
    held: list[Message] = []

    async def hold(message: Message) -> None:
        if message["type"] == "http.response.start":
            held.append(message)
            return
        begins = message.get("body") or not message.get("more_body")
        if held and not begins:
            return
        while held:
            await send(held.pop())
        await send(message)

    return hold
