"""Many streams at once: `python -m tests.bench.overhead.client PORT STREAMS ROUNDS CHUNKS PACE_MS` prints JSON.

Every stream is a connection that asks ROUNDS times. Starts are spread over one stream's length: chunks come evenly.
"""

import asyncio
import json
import sys
from typing import cast

import uvloop

from tests.bench.overhead.engine import CHUNK
from tests.bench.overhead.workloads import request, stream_body

_ENDED = b"0\r\n\r\n"
_TURN_SECONDS = 120.0


class Stream(asyncio.Protocol):
    """One connection's streams, counted by their octets."""

    def __init__(self, question: bytes, rounds: int, chunks: int, done: asyncio.Future[int]) -> None:
        self._question = question
        self._left = rounds
        self._least = chunks * len(CHUNK) * 9 // 10
        self._done = done
        self._octets = 0
        self._whole = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the first time."""
        # uvloop's transports have the methods of asyncio's, but not its class.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._question)

    def data_received(self, data: bytes) -> None:
        """Count; ask again after the last chunk."""
        self._octets += len(data)
        if not data.endswith(_ENDED) or self._transport is None:
            return
        self._whole += self._octets >= self._least
        self._octets = 0
        self._left -= 1
        if self._left:
            self._transport.write(self._question)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say how many streams came whole."""
        if not self._done.done():
            self._done.set_result(self._whole)


async def _one(port: int, question: bytes, rounds: int, chunks: int, wait: float) -> int:
    await asyncio.sleep(wait)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[int] = loop.create_future()
    try:
        await loop.create_connection(lambda: Stream(question, rounds, chunks, done), "127.0.0.1", port)
        async with asyncio.timeout(_TURN_SECONDS):
            return await done
    except (OSError, TimeoutError):
        return 0


async def run(port: int, streams: int, rounds: int, chunks: int, pace: int) -> dict[str, int]:
    """How many streams came whole, and how many did not."""
    length = chunks * max(pace, 1) / 1000
    bodies = [request(stream_body(chunks, pace), f"stream-{number}") for number in range(streams)]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_one(port, body, rounds, chunks, length * number / streams))
            for number, body in enumerate(bodies)
        ]
    whole = sum(task.result() for task in tasks)
    return {"requests": whole, "failed": streams * rounds - whole}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(run(*(int(word) for word in sys.argv[1:6])))))
