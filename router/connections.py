"""The edge's connections: questions over SPOP, completed requests as counted lines. Decides nothing."""

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from router.account import Accounts, Framing
from router.answer import Answers, Variables
from router.metrics import Tally
from router.spop import Agent, Limits, Notify, Status

logger = logging.getLogger(__name__)

_MOST_CONNECTIONS = 4096  # from the edge, each bounded in memory by its limits
_MOST_EVENT_CONNECTIONS = 256  # an edge process has one for each of its threads, and holds a line at most
_DECIDER, _SLOT = b'"decider":', b'"slot":'
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, no seconds


def mine(index: int) -> Callable[[bytes], bool]:
    """Return whether an access line tells of a request that decider `index` decided, or of one of its sessions that
    another one decided, or nobody. Requests of nobody are number 0's, too.

    Found without decoding: every decider of a host gets every line. Inside a JSON text the keys could not stand so.
    """
    marks = tuple(b"%s%d%s" % (key, index, end) for key in (_DECIDER, _SLOT) for end in (b",", b"}"))

    def is_mine(line: bytes) -> bool:
        if marks[0] in line or marks[2] in line or marks[1] in line or marks[3] in line:
            return True
        return index == 0 and (_DECIDER + b"-" in line or _DECIDER not in line)

    return is_mine


class SpopConnection(asyncio.Protocol):
    """One connection from the edge that asks."""

    def __init__(self, answers: Answers, limits: Limits, tally: Tally, peers: set["SpopConnection"]) -> None:
        self._answers = answers
        self._agent = Agent(limits)
        self._tally = tally
        self._peers = peers
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        # uvloop's transports have the methods of asyncio's, but not its class.
        taken = cast("asyncio.Transport", transport)
        if len(self._peers) >= _MOST_CONNECTIONS:
            taken.abort()
            return
        self._transport = taken
        self._peers.add(self)
        self._tally.spop_connections = len(self._peers)

    def data_received(self, data: bytes) -> None:
        """Answer what is complete; what has to wait is answered by `_reply`, in whatever order."""
        now = time.monotonic()
        for question in self._agent.receive(data):
            variables = self._answers.answer(question, now, partial(self._reply, question))
            if variables is not None:
                self._agent.acknowledge(question, variables)
        self._send()

    def pause_writing(self) -> None:
        """Read no more while the edge does not read: its answers would pile up here."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._peers.discard(self)
        self._transport = None
        self._tally.spop_connections = len(self._peers)

    def finish(self) -> None:
        """Say goodbye."""
        self._agent.finish()
        self._send()

    def _reply(self, question: Notify, variables: Variables) -> None:
        """Answer a question that waited; nobody hears it where the connection is gone."""
        if self._transport is not None:
            self._agent.acknowledge(question, variables)
            self._send()

    def _send(self) -> None:
        if self._transport is None:
            return
        octets = self._agent.pending()
        if octets:
            self._transport.write(octets)
        if self._agent.closing:
            self._close(self._transport)

    def _close(self, transport: asyncio.Transport) -> None:
        status = self._agent.status
        if status is not None:
            self._tally.spop_ends[status] += 1
            if status is not Status.NORMAL:
                logger.warning("edge connection ended: SPOP status %d (%s)", status, status.name)
        transport.close()


class EventConnection(asyncio.Protocol):
    """One connection from the edge that tells of completed requests; `hears` says which of them matter here."""

    def __init__(
        self, accounts: Accounts, tally: Tally, peers: set["EventConnection"], hears: Callable[[bytes], bool]
    ) -> None:
        self._accounts = accounts
        self._tally = tally
        self._peers = peers
        self._hears = hears
        self._framing = Framing()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        # Whoever ends it, even a kill: the edge gets a reset. HAProxy 3.0.11 never redials after an orderly end.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if len(self._peers) >= _MOST_EVENT_CONNECTIONS:
            transport.close()
            return
        self._transport = transport
        self._peers.add(self)

    def data_received(self, data: bytes) -> None:
        """Account for what is complete; drop a stream that is not octet-counted lines."""
        now = time.monotonic()
        for line in self._framing.feed(data):
            if self._hears(line):
                self._accounts.line(line, now)
        if self._framing.broken and self._transport is not None:
            self._tally.garbage += 1
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._peers.discard(self)
        self._transport = None
