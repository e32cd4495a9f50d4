"""Memory for request bodies that must be whole before anything can be decided: bounded for one and for all together.

A body is read only when there is room for all of it, so that bodies half read never wait for each other. Nothing is
read from whoever waits: its client feels that at once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from router.errors import Refused


class Stream(Protocol):
    """What octets come from."""

    def iter_any(self) -> AsyncIterator[bytes]:
        """Whatever has come, until the end."""


class Spool:
    """At most `body_bytes` of one body and `total_bytes` of all; room is waited for `wait_seconds`, in turn."""

    def __init__(self, body_bytes: int, total_bytes: int, wait_seconds: float) -> None:
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.held = 0
        self.configure(body_bytes, total_bytes, wait_seconds)

    def configure(self, body_bytes: int, total_bytes: int, wait_seconds: float) -> None:
        """Take over other bounds, for the next body on."""
        self._body_bytes = body_bytes
        self._total_bytes = max(total_bytes, body_bytes)
        self._wait_seconds = wait_seconds

    @asynccontextmanager
    async def room(self, announced: int | None) -> AsyncIterator[int]:
        """Hold room for a body of so many bytes (None: nobody said), given as its limit.

        Raises Refused: 413 for a body that is too large, 503 when no room came free in time.
        """
        size = self._body_bytes if announced is None else announced
        if size > self._body_bytes:
            raise too_large(self._body_bytes)
        await self._take(size)
        try:
            yield size
        finally:
            self._give_back(size)

    async def _take(self, size: int) -> None:
        if not self._waiting and self.held + size <= self._total_bytes:
            self.held += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:  # room is given back whatever ends the waiting, a cancellation too
            self._give_up(entry)
            if isinstance(error, TimeoutError):
                raise _full() from None
            raise

    def _give_up(self, entry: tuple[int, "asyncio.Future[None]"]) -> None:
        """Whoever stops waiting may have been given room in the same moment."""
        if entry in self._waiting:
            self._waiting.remove(entry)
            self._give_back(0)
        elif entry[1].done() and not entry[1].cancelled():
            self._give_back(entry[0])

    def _give_back(self, size: int) -> None:
        self.held -= size
        while self._waiting and self.held + self._waiting[0][0] <= self._total_bytes:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self.held += wanted
                turn.set_result(None)


async def read(content: Stream, most: int) -> bytes:
    """Read a body to its end. Raises Refused (413) as soon as it is longer than `most` bytes."""
    pieces: list[bytes] = []
    size = 0
    async for piece in content.iter_any():
        size += len(piece)
        if size > most:
            raise too_large(most)
        pieces.append(piece)
    return b"".join(pieces)


def too_large(most: int) -> Refused:
    """The refusal of a body over the limit."""
    message = f"body: larger than {most} bytes: send a shorter one"
    return Refused(413, "request_too_large_error", message, code="request_too_large")


def _full() -> Refused:
    message = "router: too many large requests are being read at once: try again in 1 s"
    return Refused(503, "service_unavailable_error", message, code="spool_full", retry_after=1)
