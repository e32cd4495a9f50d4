"""A client of HAProxy's runtime socket: commands out, values back, everything bounded in time and size."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from router import edge_text
from router.drains import Drain
from router.edge_text import FAULT_WEIGHT, EdgeView, ServerState, Streams
from router.sever import Pair

_PATIENCE_SECONDS: Final = 2.0
_DUMP_SECONDS: Final = 10.0
_PIECE_OCTETS: Final = 65_536
_MOST_OCTETS: Final = 16_777_216
_MOST_DUMP_OCTETS: Final = 536_870_912  # 200,000 streams


class EdgeError(Exception):
    """The runtime socket did not answer, or did not do what it was told."""


class EdgeSocket:
    """A client of HAProxy's runtime socket at `path`; a connection for each command, as HAProxy's own examples do."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def command(self, text: str) -> str:
        """Return what HAProxy says to `text`. Raises EdgeError: nobody there, too slow, or too much."""
        pieces: list[bytes] = []
        await self._ask(text, pieces.append, _MOST_OCTETS, _PATIENCE_SECONDS)
        return b"".join(pieces).decode(errors="replace").strip()

    async def look(self) -> EdgeView:
        """Return every server, and which life of HAProxy says so, as one process sees it. Raises EdgeError."""
        said = await self.command("show info;show stat -1 4 -1;show servers state")
        try:
            return edge_text.view(said)
        except ValueError as problem:
            raise EdgeError(f"{self._path}: {problem}") from problem

    async def servers(self) -> Mapping[tuple[str, str], ServerState]:
        """Return every server by backend and name. Raises EdgeError."""
        return (await self.look()).servers

    async def drain(self, backend: str, server: str, drain: Drain = Drain.OPERATOR) -> None:
        """Give `server` nothing new for `drain`, not even sessions at home there; for none, work. Raises EdgeError.

        The state comes first: between the two a drain looks like an operator's for a moment, and none like one.
        """
        state = "maint" if drain else "ready"
        weight = FAULT_WEIGHT if drain is Drain.FAULT else "100%"
        place = f"set server {backend}/{server}"
        await self._order(f"{place} state {state};{place} weight {weight}")

    async def down(self, backend: str, server: str) -> None:
        """Give `server` nothing until its next good health check. Raises EdgeError."""
        await self._order(f"set server {backend}/{server} health down")

    async def waiting(self, backend: str, server: str) -> list[Pair]:
        """Return the connections to `server` on which a request waits for its first byte and can be sent again."""
        streams, found = Streams(backend, server), list[Pair]()
        await self._ask(
            "show sess all", lambda piece: found.extend(streams.feed(piece)), _MOST_DUMP_OCTETS, _DUMP_SECONDS
        )
        return [*found, *streams.end()]

    async def _order(self, text: str) -> None:
        """HAProxy says nothing when it does what it is told."""
        if said := await self.command(text):
            raise EdgeError(f"{self._path}: {text}: found {said[:200]!r}: see docs/operations/drain.md")

    async def _ask(self, text: str, take: Callable[[bytes], object], most: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_unix_connection(self._path)
                try:
                    writer.write(f"{text}\n".encode())
                    await self._read(reader, take, most)
                finally:
                    writer.transport.abort()
        except OSError as problem:
            raise EdgeError(f"{self._path}: found {problem!r}: is the edge up, and may the router use it?") from problem

    async def _read(self, reader: asyncio.StreamReader, take: Callable[[bytes], object], most: int) -> None:
        while piece := await reader.read(_PIECE_OCTETS):
            most -= len(piece)
            if most < 0:
                raise EdgeError(f"{self._path}: found an answer without an end: given up")
            take(piece)
