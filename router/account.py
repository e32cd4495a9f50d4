"""Completed requests, as the edge's access line tells them: to the fleet, to the metrics, to one line on stdout.

The edge sends its JSON access line over TCP, each with its length in front (`<octets> <line>`). Lines may be lost,
repeated or garbage; none of that raises, and garbage is counted.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from router.access_line import Event, Line
from router.door import Door
from router.fleet import Fleet, Outcome
from router.joined import Decided, Recent, Spent
from router.tally import Tally

__all__ = ["CARRIER", "Accounts", "Ended", "Event", "Framing", "Journal", "Line", "tokens_of"]

logger = logging.getLogger(__name__)

LONGEST_LINE: Final = 65_536  # octets
CARRIER: Final = "router-proxy"  # the edge's backend of requests that the router carries: it has ended them itself
_LENGTH_DIGITS: Final = 6
_PENDING_OCTETS: Final = 4_194_304  # of log lines that stdout has not taken
_HEADERS: Final = 600  # octets: of headers, of a token in a text, of a token in a stream
_TEXT: Final = 4
_CHUNK: Final = 230
_SPEECH: Final = "/v1/audio/speech"  # 24 kHz, 16 bits, fifty decoder steps a second
_SPOKEN: Final = 960


Ended = Callable[[Event, str, Decided | None], None]


class Framing:
    """Octet-counted lines out of a stream. `broken` says that the stream is not that: drop the connection."""

    def __init__(self) -> None:
        self.broken = False
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take octets as they came, return the lines that are complete by now."""
        data = self._rest + data
        lines: list[bytes] = []
        at = 0
        while not self.broken:
            space = data.find(b" ", at, at + _LENGTH_DIGITS + 1)
            if space < 0:
                self.broken = len(data) - at > _LENGTH_DIGITS
                break
            digits = data[at:space]
            if not digits.isdigit() or int(digits) > LONGEST_LINE:
                self.broken = True
                break
            end = space + 1 + int(digits)
            if end > len(data):
                break
            lines.append(data[space + 1 : end])
            at = end
        self._rest = b"" if self.broken else data[at:]
        return lines


class Journal:
    """Lines for stdout, kept until a timer writes them; what stdout does not take in time is dropped and counted."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._lines: deque[bytes] = deque()
        self._octets = 0

    def add(self, line: bytes) -> None:
        """Keep one line, without its line end."""
        if self._octets + len(line) >= _PENDING_OCTETS:
            self._tally.log_dropped += 1
            return
        self._lines.append(line)
        self._octets += len(line) + 1

    def take(self) -> bytes:
        """Return everything kept, as lines, and forget it."""
        if not self._lines:
            return b""
        octets = b"\n".join(self._lines) + b"\n"
        self._lines.clear()
        self._octets = 0
        return octets


class Accounts:
    """Turns access lines into outcomes, metrics and log lines. `journal` None: no log lines.

    `ended`: who else is told of each request, the engine that served it and what was decided, if anybody.

    Every router of an edge host reads every line. Each takes those of requests that it decided itself; those of nobody
    belong to router 0. Of its sessions' requests that it did not decide, each learns where they were served. What
    tenants spend, and how much is retried, all of them take from all lines.
    """

    def __init__(
        self,
        fleet: Fleet,
        tally: Tally,
        recent: Recent,
        journal: Journal | None,
        door: Door | None = None,
        *,
        decider: int = 0,
        ended: Ended | None = None,
    ) -> None:
        self._fleet = fleet
        self._tally = tally
        self._recent = recent
        self._journal = journal
        self._door = door
        self._decider = decider
        self._ended = ended
        self._decode = msgspec.json.Decoder(Event).decode
        self._encode = msgspec.json.Encoder().encode

    def line(self, octets: bytes, now: float) -> None:
        """Take one access line at the monotonic time `now`. Never raises."""
        self._tally.events += 1
        try:
            event = self._decode(octets)
            retries = max(int(event.retries), 0)
        except (msgspec.MsgspecError, ValueError):
            self._tally.garbage += 1
            return
        try:
            self._take(event, retries, now)
        except Exception:  # one bad event ends nothing: it is counted and logged
            self._tally.fault(logger, "a completion could not be accounted for")

    def _take(self, event: Event, retries: int, now: float) -> None:
        lease = event.lease or event.id
        decided = self._recent.take(lease)
        spent = tokens_of(event, decided)
        if self._door is not None:
            self._door.spent(event.tenant, spent, decided, now)
            if event.chosen or retries:
                self._door.retries.completed(retries, now)
        if event.slot == self._decider != event.decider and event.stick and 200 <= event.status < 300:
            self._fleet.served_alone(event.stick, event.server, spent.prompt, now)
        if max(event.decider, 0) != self._decider:
            return
        self._tally.told(event.tenant, event.status, event.why)
        carried = event.backend == CARRIER
        seen = event.served if carried else event.server
        server = "" if seen.startswith(("<", "-")) else seen
        outcome = Outcome(lease, server, event.status, event.state[:2], retries, event.chosen)
        if not carried:
            self._fleet.finished(outcome, now)
            self._tally.ended(server, event.status, retries, event.state)
        self._count(event, server, spent)
        if self._door is not None and not carried:
            self._door.ended(lease, server or event.chosen, now)
        if self._ended is not None:
            self._ended(event, server, decided)
        if self._journal is not None:
            self._journal.add(self._encode(_joined(event, outcome, decided)))

    def _count(self, event: Event, server: str, spent: Spent) -> None:
        if server and event.status < 400:
            self._tally.used(event.tenant, event.model, spent.prompt, spent.completion)
            if event.headers_ms >= 0:
                first = (max(event.queued_ms, 0) + max(event.connect_ms, 0) + event.headers_ms) / 1000
                self._tally.timed(event.model, event.why, first, max(event.total_ms, 0) / 1000)


def tokens_of(event: Event, decided: Decided | None) -> Spent:
    """Return what a request took: as its engine counted; else the prompt as it was estimated when it was decided, and
    the answer by its length. A streamed token is some 230 bytes long, one of a whole answer four to five, one that is
    spoken a thousand.
    """
    if event.status >= 400 or event.status < 200:
        return Spent(0, 0)
    counted = event.usage.split(",")
    if len(counted) == 3 and counted[0].isdecimal() and counted[2].isdecimal():
        return Spent(int(counted[0]), int(counted[2]))
    prompt = decided.prompt_tokens if decided is not None else max(event.bytes_in - _HEADERS, 0) // _TEXT
    return Spent(prompt, max(event.bytes_out - _HEADERS, 0) // _octets_per_token(event, decided))


def _octets_per_token(event: Event, decided: Decided | None) -> int:
    if event.path == _SPEECH:
        return _SPOKEN
    return _CHUNK if decided is None or decided.stream else _TEXT


def _joined(event: Event, outcome: Outcome, decided: Decided | None) -> Line:
    return Line(
        ts=event.ts,
        id=event.id,
        model=event.model,
        path=event.path,
        status=event.status,
        engine=outcome.server,
        chosen=event.chosen,
        why=event.why,
        source=event.source,
        state=event.state,
        retries=outcome.retries,
        headers_ms=event.headers_ms,
        total_ms=event.total_ms,
        bytes_out=event.bytes_out,
        lease=outcome.id,
        prompt_tokens=decided.prompt_tokens if decided else None,
        uncached_tokens=decided.uncached_tokens if decided else None,
        cost_ms=round(decided.cost_seconds * 1000, 1) if decided else None,
        tenant=event.tenant,
        priority_class=event.priority_class,
        trace=event.trace,
    )
