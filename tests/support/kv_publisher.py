"""An engine that publishes KV events, as vLLM's own publisher does: numbered batches, and a memory of the last ones."""

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import msgspec
import zmq
import zmq.asyncio


class KvPublisher:
    """Publishes on `endpoint`, says again on `replay` what it remembers. `remembers`: so many batches.

    `room`: messages that fit into its sockets; as vLLM's, they drop what does not.
    """

    def __init__(self, *, remembers: int = 1000, endpoint: str = "", replay: str = "", room: int = 1000) -> None:
        self._context = zmq.asyncio.Context()
        self._publisher, self._router = self._context.socket(zmq.PUB), self._context.socket(zmq.ROUTER)
        for socket, wanted in ((self._publisher, endpoint), (self._router, replay)):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.SNDHWM, room)
            socket.setsockopt(zmq.SNDBUF, 4096)
            socket.bind(wanted or "tcp://127.0.0.1:*")
        self.endpoint = self._publisher.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self.replay = self._router.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._memory: deque[tuple[int, bytes]] = deque(maxlen=remembers)
        self._number = 0
        self.asked: list[int] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._answer())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):  # it was told to end
            await self._task
        self._context.destroy(linger=0)

    async def publish(self, *events: Any, ts: float = 1.0, lost: bool = False) -> None:
        """Publish a batch; `lost`: it never arrives."""
        payload = msgspec.msgpack.encode([ts, events, 0])
        number, self._number = self._number, self._number + 1
        self._memory.append((number, payload))
        if not lost:
            await self._publisher.send_multipart([b"kv", number.to_bytes(8, "big"), payload])

    async def _answer(self) -> None:
        while True:
            client, empty, wanted = await self._router.recv_multipart()
            since = int.from_bytes(wanted, "big")
            self.asked.append(since)
            for number, payload in tuple(self._memory):
                if number >= since:
                    await self._router.send_multipart([client, empty, b"kv", number.to_bytes(8, "big"), payload])
            await self._router.send_multipart([client, empty, b"", (-1).to_bytes(8, "big", signed=True), b""])
