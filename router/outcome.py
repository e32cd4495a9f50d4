"""How a request ended, and what that says about the engine."""

from dataclasses import dataclass
from enum import Enum

from mypy_extensions import mypyc_attr


class Verdict(Enum):
    """What one ended request says about an engine."""

    GOOD = "good"
    NOTHING = "nothing"
    FAULT = "fault"
    ANSWERED = "answered"  # a 5xx of its own: its fault or the request's
    REFUSED = "refused"  # nobody listened: the process, and its cache, are gone


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class Outcome:
    """How one request ended, from the edge's access line.

    `server`: who served it, empty or unknown when nobody did. `chosen`: who was to, when known. `status`: what
    the client got. `termination`: HAProxy's termination state (`--` is a clean end). `retries`: tries after the first.
    """

    id: str
    server: str
    status: int
    termination: str
    retries: int
    chosen: str

    def __init__(
        self,
        id: str,
        server: str,
        status: int,
        termination: str = "--",
        retries: int = 0,
        chosen: str = "",
    ) -> None:
        self.id = id
        self.server = server
        self.status = status
        self.termination = termination
        self.retries = retries
        self.chosen = chosen


def verdict(outcome: Outcome) -> Verdict:
    """What `outcome` says about its server: transport errors and 5xx are faults, 4xx and client aborts say nothing.

    Letters as in HAProxy's manual, "Session state at disconnection": who ended it, then in which phase. `LH`: the edge
    put its own answer in place of the server's; a 5xx then stands for headers that nothing followed.
    """
    who, phase = outcome.termination[:1] or "-", outcome.termination[1:2] or "-"
    if who == "S" and phase == "C":
        return Verdict.REFUSED
    if (who in "Ss" and phase in "CHDL") or (who == "P" and phase in "HD"):
        return Verdict.FAULT
    if 200 <= outcome.status < 400 and who in "-Cc":
        return Verdict.GOOD
    if outcome.status >= 500 and who == "-":
        return Verdict.ANSWERED
    if outcome.status >= 500 and who == "L" and phase == "H":
        return Verdict.FAULT
    return Verdict.NOTHING
