"""A very cheap engine: `python -m tests.bench.overhead.engine PORT`. HTTP/1.1 by hand, so that it is never what waits.

What a request wants stands in its body, in fields that every router passes on: `"stream":true`, `"max_tokens":N`
(chunks of a stream) and `"seed":M` (milliseconds between them, 0 for none).
"""

import asyncio
import re
import sys
from typing import cast

import uvloop

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream" *: *true')
_CHUNKS = re.compile(rb'"max_tokens" *: *(\d+)')
_PACE = re.compile(rb'"seed" *: *(\d+)')
_CHUNK_OCTETS = 200
_EVENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
_FILL = _EVENT % (b"x" * (_CHUNK_OCTETS - len(_EVENT) + 2))
CHUNK = b"%x\r\n%s\r\n" % (len(_FILL), _FILL)
LAST = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_USAGE = b'"usage":{"prompt_tokens":250,"completion_tokens":1,"total_tokens":251}'
_WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"bench","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"yes"},"finish_reason":"stop"}],' + _USAGE + b"}"
)
_MODELS = b'{"object":"list","data":[{"id":"bench","object":"model","owned_by":"vllm"}]}'
_METRICS = (
    b'vllm:kv_cache_usage_perc{engine="0"} 0.1\nprocess_start_time_seconds 1\n'
    b'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="125000"} 1.0\n'
)


def _answer(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(body), body)


_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_READY = _answer(_WHOLE)
_GET = {b"/v1/models": _answer(_MODELS), b"/metrics": _answer(_METRICS, b"text/plain")}
_HEALTHY = _answer(b"{}")


class Connection(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it."""
        # uvloop's transports have the methods of asyncio's, but not its class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever asked has gone: what streams to it ends."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._received = self._received + data if self._received else data
        while len(self._received) >= self._needed and (end := self._received.find(_END)) >= 0:
            length = _LENGTH.search(self._received, 0, end + 2)
            whole = end + len(_END) + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                self._needed = whole
                return
            request, self._received, self._needed = self._received[:whole], self._received[whole:], 0
            self._serve(request, end)

    def _serve(self, request: bytes, end: int) -> None:
        if request.startswith(b"GET "):
            self._write(_GET.get(request.split(b" ", 2)[1], _HEALTHY))
        elif _STREAM.search(request, end):
            chunks, pace = _CHUNKS.search(request, end), _PACE.search(request, end)
            self._write(_STREAM_HEAD)
            self._stream(int(chunks[1]) if chunks else 1, int(pace[1]) / 1000 if pace else 0.0)
        else:
            self._write(_READY)

    def _stream(self, left: int, pace: float) -> None:
        if self._transport is None:
            return
        if not left:
            self._write(LAST)
            return
        self._write(CHUNK)
        if pace:
            self._loop.call_later(pace, self._stream, left - 1, pace)
        else:
            # In a turn of the loop of its own, so that chunks leave one by one.
            self._loop.call_soon(self._stream, left - 1, pace)

    def _write(self, octets: bytes) -> None:
        if self._transport is not None:
            self._transport.write(octets)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
