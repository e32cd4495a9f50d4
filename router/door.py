"""Who comes in now, who waits, who is turned away: tenants, the waiting room and the fleet, in this order.

Every way to an engine goes through here: the edge's questions (`answer`) and the requests that Python serves itself.
`ask` gives an engine, or nothing: then the request may wait, and `admit` says whom to tell when its turn comes. Whoever
hears that an engine has room calls `freed`. Nothing here waits or walks over requests.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from router.admission import Place, PriorityClass, Reply, RoomSettings, Ticket, Waiting, WaitingRoom
from router.errors import QueueTimeout, Refused, Saturated
from router.fleet import Fleet
from router.joined import Decided, Recent, Spent
from router.parse import Ask
from router.retries import RetryBudget
from router.tally import Tally
from router.tenants import Tenants, TenantSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """The waiting room, the tenants, retries per request (`retry_budget`), and the model of each engine by name."""

    room: RoomSettings = field(default_factory=RoomSettings)
    tenants: tuple[TenantSettings, ...] = ()
    retry_budget: float = 0.2
    models: Mapping[str, str] = field(default_factory=dict)


class Door:
    """Owner of the waiting room, the tenants' tokens and the retry budget."""

    def __init__(self, fleet: Fleet, tally: Tally, recent: Recent, settings: DoorSettings, now: float) -> None:
        self.room = WaitingRoom(settings.room)
        self.tenants = Tenants(settings.tenants, now)
        self.retries = RetryBudget(settings.retry_budget)
        self._models = settings.models
        self._fleet = fleet
        self._tally = tally
        self._recent = recent

    def configure(self, settings: DoorSettings, now: float) -> None:
        """Take over new settings; those who wait go on waiting, tenants keep what they have spent."""
        self.room.configure(settings.room)
        self.tenants.configure(settings.tenants, now)
        self.retries.ratio = settings.retry_budget
        self._models = settings.models

    def ask(self, ask: Ask, now: float, request_id: str = "") -> Ticket | None:
        """Choose an engine. None: every one is at its cap, call `admit` to wait. Raises Refused (403, 429, 503)."""
        self.tenants.check(ask.tenant, ask.model, ask.adapter)
        self.tenants.take(ask.tenant, ask.prompt_tokens, now)
        try:
            return self._now_or_later(ask, now, request_id)
        except Refused:
            self._refund(ask, now)
            raise

    def admit(self, lease: str, now: float, reply: Reply) -> bool:
        """Let a request that was told to wait enter the room. False: nobody of that name was told so lately.

        `reply` is called once, maybe before this returns, with an engine or a refusal; never if the client leaves.
        """
        waiting = self.room.enter(lease, reply, now)
        if waiting is None:
            return False
        self._let_in((waiting.line,), now)
        return True

    def freed(self, engine: str, now: float) -> None:
        """Something happened at `engine` that may have made room there; a name not known stands for any."""
        if not len(self.room):
            return
        model = self._models.get(engine)
        self._let_in(((model, ""), (model, engine)) if model is not None else self.room.lines(), now)

    def ended(self, lease: str, engine: str, now: float) -> None:
        """A request is over: if it still waits, its client has gone; if not, `engine` has room."""
        waiting = self.room.leave(lease)
        if waiting is not None:
            self._refund(waiting.ask, now)
        self.freed(engine, now)

    def spent(self, tenant: str, tokens: Spent, decided: Decided | None, now: float) -> None:
        """A request is over, decided here or elsewhere: its tenant pays what it has not paid when it came."""
        paid = decided.prompt_tokens if decided is not None else 0
        self.tenants.settle(tenant, tokens.prompt + tokens.completion - paid, now)

    def tick(self, now: float) -> None:
        """Refuse those who waited too long, and look for room for the others. A few times a second."""
        for waiting in self.room.expire(now):
            self._refund(waiting.ask, now)
            model = waiting.ask.model
            after = self.room.retry_after(model, now)
            self._tell(waiting, QueueTimeout(model, self.room.settings.seconds, after))
        self._let_in(self.room.lines(), now)

    def _now_or_later(self, ask: Ask, now: float, request_id: str) -> Ticket | None:
        """An engine, unless others wait for the same: then it is their turn first."""
        priority_class, only = self._class_of(ask), ""
        if ask.previous or not self.room.waits_in((ask.model, "")):
            try:
                return self._decide(ask, priority_class, now)
            except Saturated as full:
                only = full.engine
                if not self.room.settings.capacity:
                    raise
        self.room.announce(ask, priority_class.name, now, request_id=request_id, engine=only)
        return None

    def _decide(self, ask: Ask, priority_class: PriorityClass, now: float) -> Ticket:
        choice = self._fleet.decide(ask, now)
        self._tally.decided(choice.engine, choice.why, ask.source, ask.prompt_tokens, choice.uncached_tokens)
        decided = Decided(ask.prompt_tokens, choice.uncached_tokens, choice.cost_seconds, ask.tenant, ask.stream)
        self._recent.add(ask.id, decided)
        return Ticket(choice, priority_class.priority, self.retries.granted(now))

    def _let_in(self, lines: Iterable[Place], now: float) -> None:
        """Let in whoever is next in these lines, who came first before the others, until there is no room."""
        heads = {line: head for line in lines if (head := self.room.head(line)) is not None}
        while heads:
            line = min(heads, key=lambda each: heads[each].since)
            head = self._let_in_one(heads.pop(line), now)
            if head is not None:
                heads[line] = head

    def _let_in_one(self, waiting: Waiting, now: float) -> Waiting | None:
        """Let this one in and return who is next in its line; None: there is no room, or nobody left."""
        try:
            ticket = self._decide(waiting.ask, self.room.known_class(waiting.priority_class), now)
        except Saturated:
            return None
        except Refused as refused:
            self._turn_away(waiting, refused, now)
        except Exception:  # those behind it must still get in
            self._tally.fault(logger, "a request that waited could not be decided")
            self._turn_away(waiting, None, now)
        else:
            self.room.admitted(waiting, ticket.choice.uncached_tokens, now)
            self._tally.waited(waiting.priority_class, now - waiting.since)
            self._tell(waiting, ticket)
        return self.room.head(waiting.line)

    def _turn_away(self, waiting: Waiting, refused: Refused | None, now: float) -> None:
        self.room.refused(waiting)
        self._refund(waiting.ask, now)
        self._tell(waiting, refused)

    def _tell(self, waiting: Waiting, answer: Ticket | Refused | None) -> None:
        if waiting.reply is None:
            return
        try:
            waiting.reply(waiting, answer)
        except Exception:  # the others are still to be told
            self._tally.fault(logger, "one who waited could not be told")

    def _class_of(self, ask: Ask) -> PriorityClass:
        """A tenant's own class is the most urgent it may ask for."""
        own = self.tenants.class_of(ask.tenant)
        asked = self.room.known_class(ask.priority_class, own)
        return asked if not own or asked.weight <= (most := self.room.known_class(own)).weight else most

    def _refund(self, ask: Ask, now: float) -> None:
        self.tenants.settle(ask.tenant, -ask.prompt_tokens, now)
