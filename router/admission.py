"""The waiting room: requests whose engines are all at their cap, and in which order they get in. Pure.

1. Every model has a line of its own, and so have requests that only one engine can serve: one jam holds no other.
2. Between the priority classes of a line goes whoever has had least for its weight (start-time fair queueing, Goyal,
   Vin and Cheng 1996). A class that was away is owed nothing, so a rare urgent request goes before all that is not.
3. Between the tenants of a class it goes round by tokens (deficit round robin, Shreedhar and Varghese 1995, in the form
   that pays afterwards: what a request costs is known only when an engine is chosen for it). What a tenant has had too
   much of it still owes when it comes back while others wait.
4. Within a tenant the first to come is the first to go.
5. Nobody is served twice, waits longer than the limit, or is walked over: every event costs O(1) for each request
   that leaves, whatever the number of those that stay.

A request is announced when its question finds no room, and enters when the edge asks a second time, on a connection
that may wait. One that is announced and never enters is dropped.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from router.errors import QueueFull
from router.values import Ask, Place, PriorityClass, Reply, Ticket, Waiting
from router.window import Window

__all__ = ["Place", "PriorityClass", "Reply", "RoomSettings", "Ticket", "Waiting", "WaitingRoom"]

ENTER_SECONDS: Final = 2.0  # from the announcement to the edge's second question
_QUANTUM: Final = 1024  # tokens a tenant may send in its turn: a few small requests, or a part of a large one
_LEAST_CHARGE: Final = 256  # tokens: a request that is cached whole still takes a place
_MOST_CHARGE: Final = 262_144
_MOST_DEBTS: Final = 10_000
_LONGEST_RETRY: Final = 60


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """How many may wait (0: nobody), for how many seconds, and the classes; the first is for requests of no other."""

    capacity: int = 0
    seconds: float = 30.0
    classes: tuple[PriorityClass, ...] = (PriorityClass("default"),)


class WaitingRoom:
    """All who wait. Requests are known by `Ask.id`. Every method returns at once."""

    def __init__(self, settings: RoomSettings) -> None:
        self.abandoned = self.never_entered = 0
        self._classes: dict[str, PriorityClass] = {}
        self._announced: OrderedDict[str, Waiting] = OrderedDict()
        self._entered: OrderedDict[str, Waiting] = OrderedDict()
        self._lines: dict[Place, _Line] = {}
        self._drained: dict[str, Window] = {}
        self._depths: Counter[str] = Counter()
        self.configure(settings)

    def configure(self, settings: RoomSettings) -> None:
        """Take over new settings; whoever waits goes on waiting."""
        self.settings = settings
        self._classes = {each.name: each for each in settings.classes}

    def __len__(self) -> int:
        return len(self._announced) + len(self._entered)

    def lines(self) -> tuple[Place, ...]:
        """Return the lines in which somebody stands."""
        return tuple(self._lines)

    def waits_in(self, line: Place) -> bool:
        """Return whether somebody stands in `line`."""
        return line in self._lines

    def depths(self) -> Mapping[str, int]:
        """Return how many wait, by class."""
        return {name: self._depths[name] for name in self._classes}

    def known_class(self, *names: str) -> PriorityClass:
        """Return the first of `names` that is a class, else the class of requests that name none."""
        found = next((self._classes[name] for name in names if name in self._classes), None)
        return found or self.settings.classes[0]

    def announce(self, ask: Ask, priority_class: str, now: float, *, request_id: str = "", engine: str = "") -> None:
        """Keep a place for a request until it enters; `engine`: the only one that would do. Raises QueueFull (429)."""
        if len(self) >= self.settings.capacity:
            raise QueueFull(ask.model, len(self), self.retry_after(ask.model, now))
        self.leave(ask.id)
        self._announced[ask.id] = Waiting(ask, (ask.model, engine), priority_class, now, request_id)

    def enter(self, lease: str, reply: Reply, now: float) -> Waiting | None:
        """Let an announced request wait for `reply` at the end of its tenant's line. None: it is not known."""
        waiting = self._announced.pop(lease, None)
        if waiting is None:
            return None
        waiting.reply, waiting.since = reply, now
        self._entered[lease] = waiting
        self._depths[waiting.priority_class] += 1
        line = self._lines.setdefault(waiting.line, _Line())
        line.add(waiting, self.known_class(waiting.priority_class).weight)
        return waiting

    def leave(self, lease: str) -> Waiting | None:
        """Forget a request whose client has gone. None: it does not wait here."""
        waiting = self._announced.pop(lease, None)
        if waiting is None:
            waiting = self._entered.get(lease)
            if waiting is None:
                return None
            self._remove(waiting)
        self.abandoned += 1
        return waiting

    def head(self, line: Place) -> Waiting | None:
        """Return who is next in `line`; the same until it is admitted or leaves, or a more urgent one enters."""
        found = self._lines.get(line)
        return found.head() if found is not None else None

    def admitted(self, waiting: Waiting, tokens: int, now: float) -> None:
        """Let the head go to an engine that has `tokens` to compute for it."""
        self._lines[waiting.line].charge(waiting, min(max(tokens, _LEAST_CHARGE), _MOST_CHARGE))
        self._drained.setdefault(waiting.ask.model, Window()).add(now)
        self._remove(waiting)

    def refused(self, waiting: Waiting) -> None:
        """Let one go without an engine; it pays nothing."""
        self._remove(waiting)

    def expire(self, now: float) -> list[Waiting]:
        """Take out and return all who waited too long; those that never entered have no `reply`."""
        overdue: list[Waiting] = []
        while self._entered and (first := next(iter(self._entered.values()))).since + self.settings.seconds <= now:
            self._remove(first)
            overdue.append(first)
        while self._announced and (first := next(iter(self._announced.values()))).since + ENTER_SECONDS <= now:
            del self._announced[first.ask.id]
            self.never_entered += 1
            overdue.append(first)
        return overdue

    def retry_after(self, model: str, now: float) -> int:
        """Return in how many seconds those who wait now are served, as it goes now: 1 to 60."""
        drained = self._drained.get(model)
        rate = drained.total(now) / drained.seconds if drained is not None else 0.0
        seconds = len(self) / rate if rate else self.settings.seconds
        return min(max(1, math.ceil(seconds)), _LONGEST_RETRY)

    def _remove(self, waiting: Waiting) -> None:
        del self._entered[waiting.ask.id]
        self._depths[waiting.priority_class] -= 1
        line = self._lines[waiting.line]
        line.remove(waiting)
        if not line.classes:
            del self._lines[waiting.line]


class _Line:
    """Those who wait for the same. `classes`: the ones somebody waits in. `reached`: how far fairness has come."""

    __slots__ = ("_away", "classes", "reached")

    def __init__(self) -> None:
        self.classes: dict[str, _Class] = {}
        self.reached = 0.0
        self._away: dict[str, _Class] = {}  # empty classes, for what they have had

    def add(self, waiting: Waiting, weight: int) -> None:
        """Put a request at the end of its tenant's queue."""
        name = waiting.priority_class
        found = self.classes.get(name)
        if found is None:
            found = self.classes[name] = self._away.pop(name) if name in self._away else _Class()
            found.had = max(found.had, self.reached)
        found.weight = weight
        found.add(waiting)

    def head(self) -> Waiting:
        """Return the first of the tenant whose turn it is in the class that has had least for its weight."""
        return min(self.classes.values(), key=_Class.rank).head()

    def charge(self, waiting: Waiting, tokens: int) -> None:
        """Let the head's tenant and class pay."""
        found = self.classes[waiting.priority_class]
        self.reached = found.had
        found.had += tokens / found.weight
        found.charge(waiting.ask.tenant, tokens)

    def remove(self, waiting: Waiting) -> None:
        """Take a request out, wherever it stands."""
        found = self.classes[waiting.priority_class]
        found.remove(waiting)
        if not found.round:
            self._away[waiting.priority_class] = self.classes.pop(waiting.priority_class)


class _Class:
    """Those of one class, by tenant, in the order of their turns. `had`: tokens so far, for its weight."""

    __slots__ = ("debts", "had", "round", "weight")

    def __init__(self) -> None:
        self.had = 0.0
        self.weight = 1
        self.round: OrderedDict[str, _Flow] = OrderedDict()
        self.debts: dict[str, int] = {}

    def rank(self) -> tuple[float, int]:
        """Return what decides who goes first: least had, then the heavier."""
        return self.had, -self.weight

    def add(self, waiting: Waiting) -> None:
        """Put a request at the end of its tenant's queue; a tenant that comes new has its turn last."""
        tenant = waiting.ask.tenant
        flow = self.round.get(tenant)
        if flow is None:
            flow = self.round[tenant] = _Flow(self.debts.pop(tenant, 0))
        flow.queue[waiting.ask.id] = waiting

    def head(self) -> Waiting:
        """Return the first of the tenant whose turn it is; tenants in debt get their quantum and let others go."""
        for _ in range(len(self.round)):
            tenant, flow = next(iter(self.round.items()))
            if flow.credit <= 0:
                flow.credit += _QUANTUM
            if flow.credit > 0:
                return next(iter(flow.queue.values()))
            self.round.move_to_end(tenant)
        self._skip_rounds()
        return self.head()

    def _skip_rounds(self) -> None:
        """Everybody is in debt: have the rounds at once that would bring nobody a turn."""
        rounds = min(-flow.credit // _QUANTUM for flow in self.round.values())
        for flow in self.round.values():
            flow.credit += rounds * _QUANTUM

    def charge(self, tenant: str, tokens: int) -> None:
        """Let a tenant pay; one that has used up its turn goes to the end of the round."""
        flow = self.round[tenant]
        flow.credit -= tokens
        if flow.credit <= 0:
            self.round.move_to_end(tenant)

    def remove(self, waiting: Waiting) -> None:
        """Take a request out; a tenant without any leaves the round, its debt stays while others wait."""
        tenant = waiting.ask.tenant
        flow = self.round[tenant]
        del flow.queue[waiting.ask.id]
        if flow.queue:
            return
        del self.round[tenant]
        if not self.round or len(self.debts) >= _MOST_DEBTS:
            self.debts.clear()
        elif flow.credit < 0:
            self.debts[tenant] = flow.credit


class _Flow:
    """One tenant's requests, in order of coming. `credit`: tokens it may still send in this turn."""

    __slots__ = ("credit", "queue")

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.queue: OrderedDict[str, Waiting] = OrderedDict()
