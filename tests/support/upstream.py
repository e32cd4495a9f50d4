"""An engine as small as it can be, for tests of the edge: what it does is asked for in the request body.

`{"delay": s}` waits before the headers, `{"chunks": n, "gap": s}` streams events, `{"status": n}` answers so,
`{"chunks": n, "hold": name}` streams one event, and the others once `GET /go/name` is asked, `"comment": true` begins
any stream with a comment instead of an event,
`{"fail_on": [names], "how": reset|headers|mid|junk|503|500}` fails on the named engines only. `GET /stats` counts.
What it answers on /v1/responses has an id and is kept: only this engine can continue it, others answer 404.
Run: `python -m tests.support.upstream NAME PORT [KEEP_ALIVE_SECONDS]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import struct
import sys
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

END = b"\r\n\r\n"
CHUNKED = "content-type: text/event-stream\r\ntransfer-encoding: chunked"


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def wish(self) -> dict[str, Any]:
        """What the body asks this engine to do; nothing if it is not an object."""
        with contextlib.suppress(ValueError):  # no JSON: no wish
            wish = json.loads(self.body)
            return wish if isinstance(wish, dict) else {}
        return {}


@dataclass
class Engine:
    """A listening engine and what it has counted."""

    name: str
    keep_alive_seconds: float = 600.0
    counts: Counter[str] = field(default_factory=Counter)
    kept: set[str] = field(default_factory=set)
    held: dict[str, asyncio.Event] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests of one connection until either side ends it."""
        # A client that leaves, and one that says nothing more, end a connection as any other end does.
        with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            while True:
                async with asyncio.timeout(self.keep_alive_seconds):
                    head = await reader.readuntil(END)
                request = await _read(head, reader)
                if not await self._watched(request, reader, writer):
                    break
        writer.close()

    async def _watched(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if request.method == "GET":
            return await self._get(request, writer)
        self.counts["requests"] += 1
        answer = asyncio.ensure_future(self._post(request, writer))
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            self.counts["aborted"] += 1
            answer.cancel()
            return False
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):  # told to end, or its client has left
            await gone
        return answer.result()

    async def _get(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        # The router asks for the models by itself, now and then; what came through the edge has an id.
        asked_by_router = request.path == "/v1/models" and "x-request-id" not in request.headers
        self.counts["gets"] += not asked_by_router and request.path not in {"/stats", "/health", "/metrics"}
        if request.path.startswith("/go/"):
            self.held[request.path.removeprefix("/go/")].set()
        body = dict(self.counts) if request.path == "/stats" else {"engine": self.name, "path": request.path}
        writer.write(_whole(200, body))
        await writer.drain()
        return True

    async def _post(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        wish = request.wish
        await asyncio.sleep(wish.get("delay", 0))
        how = wish.get("how", "reset") if self.name in wish.get("fail_on", []) else ""
        self.counts[f"failed_{how}"] += bool(how)
        if how in {"reset", "junk"}:
            return self._break(how, writer)
        if how.isdigit():
            writer.write(_whole(int(how), {"error": {"message": "asked for", "type": "engine", "code": how}}))
        elif how or "chunks" in wish:
            return await self._stream(wish, how, writer, self._keep(request))
        elif wish.get("previous_response_id", "") in {"", *self.kept}:
            writer.write(_whole(wish.get("status", 200), self._keep(request) | self._echo(request)))
        else:
            writer.write(_whole(404, {"error": {"message": "no such response", "type": "engine", "code": 404}}))
        await writer.drain()
        return True

    def _keep(self, request: Request) -> dict[str, str]:
        """The id of a response, on the path that has them."""
        if request.path != "/v1/responses":
            return {}
        self.kept.add(name := f"resp_{uuid.uuid4().hex}")
        return {"id": name}

    def _break(self, how: str, writer: asyncio.StreamWriter) -> bool:
        if how == "junk":
            writer.write(b"\x00\x01 not http" + END)
        else:
            _reset(writer)
        return False

    async def _stream(
        self, wish: dict[str, Any], how: str, writer: asyncio.StreamWriter, response: dict[str, str]
    ) -> bool:
        writer.write(f"HTTP/1.1 200 OK\r\nserver: upstream\r\n{CHUNKED}\r\n\r\n".encode())
        await writer.drain()
        for index in range(wish.get("chunks", 3)):
            await asyncio.sleep(wish.get("gap", 0))
            if index == 1 and "hold" in wish:
                await self._held(wish["hold"])
            if how == "headers" or (how == "mid" and index == 2):
                _reset(writer)
                return False
            about = json.dumps({"type": "response.created", "response": response}) if response and not index else index
            event = b": keep-alive\n\n" if wish.get("comment") and not index else f"data: {about}\n\n".encode()
            writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _held(self, name: str) -> None:
        self.held[name] = asyncio.Event()
        self.counts["held"] += 1
        await self.held[name].wait()
        self.counts["held"] -= 1

    def _echo(self, request: Request) -> dict[str, Any]:
        return {
            "engine": self.name,
            "path": request.path,
            "headers": request.headers,
            "bytes": len(request.body),
            "sha256": hashlib.sha256(request.body).hexdigest(),
        }


async def _read(head: bytes, reader: asyncio.StreamReader) -> Request:
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") != "chunked":
        return Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return Request(method, path, headers, body)


def _whole(status: int, body: dict[str, Any]) -> bytes:
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nserver: upstream\r\ncontent-type: application/json\r\ncontent-length: {len(text)}"
    head += "\r\nretry-after: 7" if status == 429 else ""
    return head.encode() + END + text


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main(name: str, port: int, keep_alive_seconds: float = 600.0) -> None:
    """Serve until killed."""
    engine = Engine(name, keep_alive_seconds)
    server = await asyncio.start_server(engine.serve, "127.0.0.1", port, limit=1 << 20, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:])))
