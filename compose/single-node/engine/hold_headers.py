"""Holds an answer's headers until its first body byte exists.

An engine sends the headers of a stream before it has computed anything. Whoever has seen headers cannot be sent
elsewhere any more: an engine that dies during prefill would then break a request that nobody has answered yet.
With the headers held, the edge sees an empty connection and gives the request to another engine.

Headers and first byte then leave in one write. Uvicorn gives the kernel one after the other, and an engine killed in
between would have sent headers alone. An ASGI application cannot reach that, so importing this file replaces the
protocol that uvicorn means by `auto`: vLLM loads its middleware before it makes its server.

Loaded by vLLM through `--middleware hold_headers.HoldHeaders`; needs vLLM's own server, uvicorn, and Python 3.10.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.auto import AutoHTTPProtocol

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_STATUS = len("HTTP/1.1 ")


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


class OneWrite:
    """A transport on which a response's head waits for what is written next: the two are one write.

    A head that nothing follows in the same step of the loop (HEAD, 204) leaves by itself in the next one.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write at once what is no head; "100 Continue" and its like are none, they come before one."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data.startswith(b"HTTP/1.") and not data.startswith(b"1", _STATUS):
            self._head = data
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close after a head that still waits."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class _WritesOnce(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", OneWrite(cast("asyncio.Transport", transport))))


Protocol = type("Protocol", (_WritesOnce, AutoHTTPProtocol), {})
HTTP_PROTOCOLS["auto"] = f"{__name__}:Protocol"
