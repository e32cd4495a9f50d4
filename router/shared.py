"""How much work each router of one host has sent where: a small file in memory that all of them map.

Each process writes its own column and reads the others', without a lock: a value may be 20 ms old, which is less than
a prefill takes. Who has not written for 2 s counts as gone, and its requests with it. Rows are the engines by name; a
changed list of engines is another file, so that routers that reload one after the other never read the wrong row.
"""

import hashlib
import logging
import mmap
import os
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

MOST = 64  # deciders of one host: columns in every file, so that one decider more needs no other file
STALE_SECONDS = 2.0
_AHEAD_SECONDS = 1.0  # a heartbeat may be written between our clock's reading and ours; more is from another boot
_FORGOTTEN_SECONDS = 10.0
_LAYOUT = "1"
_CELL = 8

Load = tuple[int, int]  # uncached tokens, requests in flight


class Board:
    """The layout, over any memory: heartbeats of all columns, then for each column its tokens and its requests."""

    def __init__(self, memory: memoryview, rows: int, index: int) -> None:
        self._beats = memory[: MOST * _CELL].cast("d")
        self._cells = memory[MOST * _CELL : size(rows)].cast("q")
        self._rows = rows
        self._index = index

    def write(self, loads: Sequence[Load], now: float) -> None:
        """Say what this process has where, one pair for each row."""
        at = self._index * 2 * self._rows
        column = [load[0] for load in loads] + [load[1] for load in loads]
        self._cells[at : at + 2 * self._rows] = memoryview(array("q", column))
        self.beat(now)

    def beat(self, now: float) -> None:
        """Say that what was written still holds."""
        self._beats[self._index] = now

    def others(self, now: float) -> list[int]:
        """Return what all other living processes together have where: tokens of each row, then requests of each."""
        columns = [
            self._cells[index * 2 * self._rows : (index + 1) * 2 * self._rows].tolist()
            for index, beat in enumerate(self._beats.tolist())
            if index != self._index and -_AHEAD_SECONDS <= now - beat <= STALE_SECONDS
        ]
        if not columns:
            return [0] * (2 * self._rows)
        return columns[0] if len(columns) == 1 else [sum(cells) for cells in zip(*columns, strict=True)]

    def release(self) -> None:
        """Let go of the memory."""
        self._beats.release()
        self._cells.release()


def size(rows: int) -> int:
    """Return the octets of a file for so many engines."""
    return MOST * _CELL * (1 + 2 * rows)


def file_name(engines: Sequence[str]) -> str:
    """Return the name that a list of engines has in any order."""
    digest = hashlib.sha256("\0".join((_LAYOUT, *sorted(engines))).encode()).hexdigest()
    return f"load-{digest[:16]}.bin"


class Shared:
    """The file in `folder`, as decider `index` sees it. Without it each counts only its own: never an error."""

    def __init__(self, folder: str, index: int) -> None:
        self._folder = Path(folder)
        self._index = index
        self._engines: tuple[str, ...] = ()
        self._memory: mmap.mmap | None = None
        self._board: Board | None = None
        self._written: Mapping[str, Load] = {}
        self._read: list[int] = []
        self._others: Mapping[str, Load] = {}

    @property
    def up(self) -> bool:
        """Whether there is a file to share."""
        return self._board is not None

    def configure(self, engines: Sequence[str], now: float) -> None:
        """Share the load of these engines from now on."""
        wanted = tuple(sorted(engines))
        if wanted == self._engines and self._board is not None:
            return
        self.close()
        self._engines = wanted
        try:
            self._open(self._folder / file_name(wanted), size(len(wanted)), now)
            self._sweep(now)
        except OSError as error:
            logger.error(
                "decider.shared: found %s: allowed a folder that every router here may write; load is not shared",
                error,
            )

    def exchange(self, loads: Mapping[str, Load], now: float) -> Mapping[str, Load]:
        """Say what this process has where; return what the others have: the same object while that is the same."""
        if self._board is None:
            return self._others
        if loads == self._written:
            self._board.beat(now)
        else:
            self._board.write([loads.get(engine, (0, 0)) for engine in self._engines], now)
            self._written = loads
        read = self._board.others(now)
        if read != self._read:
            self._read, rows = read, len(self._engines)
            pairs = zip((max(cell, 0) for cell in read[:rows]), (max(cell, 0) for cell in read[rows:]), strict=True)
            self._others = dict(zip(self._engines, pairs, strict=True))
        return self._others

    def close(self) -> None:
        """Let go of the file; the others see that after 2 s."""
        if self._board is not None:
            self._board.release()
        if self._memory is not None:
            self._memory.close()
        self._board = self._memory = None
        self._written, self._read, self._others = {}, [], {}

    def _open(self, path: Path, octets: int, now: float) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        try:
            if os.fstat(handle).st_size < octets:
                os.ftruncate(handle, octets)
            self._memory = mmap.mmap(handle, octets)
        finally:
            os.close(handle)
        self._board = Board(memoryview(self._memory), len(self._engines), self._index)
        self._board.write([(0, 0)] * len(self._engines), now)

    def _sweep(self, now: float) -> None:
        """Remove files of engine lists that nobody uses any more."""
        for path in self._folder.glob("load-*.bin"):
            if path.name != file_name(self._engines):
                with suppress(OSError):  # another router may sweep at the same moment
                    if now - _newest(path) > _FORGOTTEN_SECONDS:
                        path.unlink()


def _newest(path: Path) -> float:
    with path.open("rb") as file:
        octets = file.read(MOST * _CELL)
    beats = memoryview(octets[: len(octets) // _CELL * _CELL]).cast("d").tolist()
    return max(beats, default=0.0)
