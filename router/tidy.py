"""When the garbage collector may stop the world.

A full collection looks at every remembered session: a tenth of a second for 200,000 of them, longer than the edge waits
for an answer. It finds little, because almost everything here is freed by counting. So full collections run when no
request is in flight, and otherwise once an hour.
"""

import gc
from collections.abc import Callable
from typing import Final

_IDLE_SECONDS: Final = 60.0
_BUSY_SECONDS: Final = 3600.0
_NEVER: Final = 1 << 30


def tame() -> None:
    """Keep what the start made out of every collection, and leave full collections to `Tidy`."""
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
