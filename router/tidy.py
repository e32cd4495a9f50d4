"""When the garbage collector may stop the world, and where large tables lie.

A full collection looks at every remembered session: a tenth of a second for 200,000 of them, longer than the edge waits
for an answer. It finds little, because almost everything here is freed by counting. So full collections run when no
request is in flight, and otherwise once an hour.

Tables of remembered sessions are made anew, larger, every few hundred thousand requests. Where such a block lies among
small ones, the place that it leaves is soon full of holes: a tenth more memory within a million sessions. glibc begins
with a place of its own for each, and gives that up for sizes that were freed once; told not to, it keeps to it.
"""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_IDLE_SECONDS: Final = 60.0
_BUSY_SECONDS: Final = 3600.0
_NEVER: Final = 1 << 30
_M_MMAP_THRESHOLD: Final = -3  # malloc.h
_TABLE_OCTETS: Final = 1 << 20  # no request that is decided has as many: none pays for a mapping


def tame() -> None:
    """Keep what the start made out of every collection, leave full collections to `Tidy`, give large tables back."""
    with suppress(AttributeError):  # another C library has no such setting, and no such habit
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _TABLE_OCTETS)
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)


class Tidy:
    """Decides when to run a full collection; asked once a second."""

    def __init__(self, now: float, collect: Callable[[], object] = gc.collect) -> None:
        self._last = now
        self._collect = collect

    def tick(self, now: float, *, idle: bool) -> None:
        """Collect if that is due; `idle`: no request is in flight."""
        if now - self._last >= (_IDLE_SECONDS if idle else _BUSY_SECONDS):
            self._collect()
            self._last = now
