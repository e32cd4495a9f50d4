"""What HAProxy's runtime socket says, read. Pure: text in, values out.

The formats are those of HAProxy 2.6 to 3.2. Tables name their columns, so they are read by name; a description of a
stream is made for people, so it is only believed where every part that matters is there.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from router.drains import Drain
from router.sever import Pair

_ROWS_START: Final = "# "
# An operator's maintenance or drain; what the configuration or another server implies is no order.
_FORCED_MAINTENANCE: Final = 0x01
_FORCED_DRAIN: Final = 0x08
# Why a server is in maintenance HAProxy does not keep, but a weight it does, which counts for nothing meanwhile. This
# one says that a router ordered it for a fault. Should it ever be left at a server that works, it does little.
FAULT_WEIGHT: Final = 2
# "May be sent again": the bit of 2.6, and the bit of everything later. Neither version uses the other's.
_REPEATABLE: Final = 0x0080_0000 | 0x0008_0000
_BLOCK: Final = re.compile(rb"\n(?=0x)")
_BLOCK_OCTETS: Final = 65_536
_BACKEND: Final = re.compile(rb"\n  backend=(\S+) \([^)]*\) addr=(\S+):(\d+)\n")
_SERVER: Final = re.compile(rb"\n  server=(\S+) \([^)]*\) addr=(\S+):(\d+)\n")
_TRANSACTION: Final = re.compile(
    rb"\n  txn=\S+ flags=0x([0-9a-f]+) meth=\d+ status=(-?\d+) req\.st=(\S+) rsp\.st=(\S+) "
)


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server as HAProxy sees it. `sessions`: requests there now; `queued`: requests that wait for it.

    `drain`: for whom it gets nothing new. `up`: it would get requests now. `marked`: its weight says "for a fault".
    """

    sessions: int = 0
    queued: int = 0
    up: bool = False
    drain: Drain = Drain.NONE
    marked: bool = False

    @property
    def drained(self) -> bool:
        """Whether somebody wants it to get nothing new."""
        return self.drain is not Drain.NONE


@dataclass(frozen=True, slots=True)
class EdgeView:
    """Every server by backend and name. `life`: process and start, different after each restart and reload."""

    life: tuple[str, str]
    servers: Mapping[tuple[str, str], ServerState]


def view(text: str) -> EdgeView:
    """Read `show info`, `show stat` and `show servers state`, asked for together. ValueError: not such text."""
    parts = [part for part in text.split("\n\n") if part.strip()]
    if len(parts) != 3:
        raise ValueError(f"found {len(parts)} answers to 3 questions: HAProxy 2.6 or newer is needed")
    info, stat, state = parts
    try:
        return EdgeView(_life(info), _servers(stat, state))
    except (KeyError, TypeError, AttributeError) as missing:
        raise ValueError(f"found a table without {missing}: HAProxy 2.6 or newer is needed") from missing


def _life(info: str) -> tuple[str, str]:
    said = dict(line.split(": ", 1) for line in info.splitlines() if ": " in line)
    return said["Pid"], said["Start_time_sec"]


def _servers(stat: str, state: str) -> dict[tuple[str, str], ServerState]:
    drains = {(row["be_name"], row["srv_name"]): (_drain(row), _marked(row)) for row in _rows(state)}
    return {
        (row["pxname"], row["svname"]): ServerState(
            sessions=int(row["scur"] or 0),
            queued=int(row["qcur"] or 0),
            up=row["status"].startswith("UP"),
            drain=drain,
            marked=marked,
        )
        for row in _rows(stat)
        for drain, marked in [drains.get((row["pxname"], row["svname"]), (Drain.NONE, False))]
    }


def _drain(row: Mapping[str, str]) -> Drain:
    state = int(row["srv_admin_state"])
    if state & _FORCED_MAINTENANCE and _marked(row):
        return Drain.FAULT
    return Drain.OPERATOR if state & (_FORCED_MAINTENANCE | _FORCED_DRAIN) else Drain.NONE


def _marked(row: Mapping[str, str]) -> bool:
    return int(row["srv_uweight"]) == FAULT_WEIGHT


def _rows(text: str) -> Iterator[Mapping[str, str]]:
    """Yield a table's rows by column name: `show stat` has commas, `show servers state` spaces."""
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if line.startswith(_ROWS_START)), len(lines))
    head = lines[start : start + 1]
    table = [line.removeprefix(_ROWS_START) for line in head] + lines[start + 1 :]
    return csv.DictReader(table, delimiter="," if "," in "".join(head) else " ")


class Streams:
    """`show sess all`, fed piece by piece: the connections of `server` on which a request waits for its first byte."""

    def __init__(self, backend: str, server: str) -> None:
        self._backend = backend.encode()
        self._server = server.encode()
        self._rest = b""

    def feed(self, octets: bytes) -> Sequence[Pair]:
        """Return the connections in what is complete by now."""
        *blocks, self._rest = _BLOCK.split(self._rest + octets)
        # What no description of a stream is as long as is no description of a stream.
        self._rest = self._rest if len(self._rest) <= _BLOCK_OCTETS else b""
        return self._waiting(blocks)

    def end(self) -> Sequence[Pair]:
        """Return the last one, if it is such a connection."""
        blocks, self._rest = [self._rest], b""
        return self._waiting(blocks)

    def _waiting(self, blocks: Sequence[bytes]) -> Sequence[Pair]:
        found = (self._pair(block) for block in blocks if self._server in block)
        return [pair for pair in found if pair is not None]

    def _pair(self, block: bytes) -> Pair | None:
        ours, theirs, state = _BACKEND.search(block), _SERVER.search(block), _TRANSACTION.search(block)
        if ours is None or theirs is None or state is None:
            return None
        if (ours[1], theirs[1]) != (self._backend, self._server) or not _may_move(state):
            return None
        return Pair(ours[2].decode(), int(ours[3]), theirs[2].decode(), int(theirs[3]))


def _may_move(state: re.Match[bytes]) -> bool:
    """Whether the request is wholly sent, kept for another try, and nothing of its answer is here."""
    flags, status, request, answer = state.groups()
    kept = bool(int(flags, 16) & _REPEATABLE)
    return kept and status == b"-1" and request == b"MSG_DONE" and answer == b"MSG_RPBEFORE"
