"""Who wants an engine drained, and what holds where a router and its edge differ. Pure.

Orders are ranked: an operator's is more than a fault's, and that more than none. Wherever two meet and neither is known
to be the newer, the greater holds, so that no operator's drain is lost to the end of a fault.
"""

from enum import IntEnum
from typing import Final

OPERATOR: Final = "operator"
GPU: Final = "gpu"


class Drain(IntEnum):
    """`FAULT`: ordered by a router for what it watches, which ends it; `OPERATOR`: by a person, who ends it alone."""

    NONE = 0
    FAULT = 1
    OPERATOR = 2

    @property
    def reason(self) -> str:
        """The fleet's word for it."""
        return ("", GPU, OPERATOR)[self]


def drain_for(reason: str) -> Drain:
    """The order behind a reason of the fleet."""
    if not reason:
        return Drain.NONE
    return Drain.OPERATOR if reason == OPERATOR else Drain.FAULT


def settled(agreed: Drain | None, ours: Drain, theirs: Drain) -> Drain:
    """What holds from now on. `agreed`: what both held last, None where they meet for the first time."""
    if ours == agreed:
        return theirs
    return ours if theirs == agreed else max(ours, theirs)
