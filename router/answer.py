"""The edge's questions, answered: arguments → parse → fleet → variables. No I/O, no waiting, no exception out."""

import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from router.admission import Ticket, Waiting
from router.door import Door, DoorSettings
from router.errors import NeedsProxy, Refused, openai_body
from router.fleet import Fleet
from router.joined import Recent
from router.parse import Ask, ParseSettings, Request, parse
from router.prompt import FORMS
from router.spop import Notify, Value
from router.tally import Tally

logger = logging.getLogger(__name__)

Variables = dict[str, Value]
Reply = Callable[[Variables], None]
_NOTHING: Final[Variables] = {}
# How an answer of the Responses API begins, whole or streamed: the first id in it is the one it is stored under.
_RESPONSE_ID: Final = re.compile(rb'"id"\s*:\s*"([A-Za-z0-9_-]{1,128})"')
Say = Callable[[Variables], None]
Learn = Callable[[Ask, Request, str], None]
Timed = Callable[[str, float], None]


def _unheard(_: Variables) -> None:
    """Nobody listens."""


def _nobody(_: Variables) -> None:
    """Take an answer for which nobody waits."""


class Answers:
    """What is said to the edge.

    `ask` is answered with `server backend model why stick source` (and `priority`, `retry=0`, `asked`), with `wait=1`
    when every engine is at its cap: the edge then sends `admit` and waits, with `proxy=1` when only the HTTP side can
    serve it, or with `status body why` (and `retry_after`) for a request that is refused. `admit` is answered like
    `ask`, maybe later. `begun` and `computing` need no answer. A fault of ours is answered with nothing: the edge
    decides by itself.

    `proxy`: whether there is an HTTP side that serves. `decider`: this router's index where there are several; the edge
    writes into its completion line whose request it was. `learn`: who is told of every request and its engine, if any.
    `timed`: who is told of every request, by its lease, how many seconds its answer took, if any.
    """

    def __init__(
        self,
        *,
        settings: ParseSettings,
        backends: Mapping[str, str],
        fleet: Fleet,
        tally: Tally,
        recent: Recent,
        clock: Callable[[], float],
        door: Door | None = None,
        proxy: bool = True,
        decider: int | None = None,
        learn: Learn | None = None,
        timed: Timed | None = None,
    ) -> None:
        self._settings = settings
        self._backends = backends
        self._fleet = fleet
        self._tally = tally
        self._clock = clock
        self._door = door or Door(fleet, tally, recent, DoorSettings(), 0.0)
        self._proxy = proxy
        self._decider = decider
        self._learn = learn
        self._timed = timed

    def configure(self, settings: ParseSettings, backends: Mapping[str, str], *, proxy: bool = True) -> None:
        """Take over new settings, for the next question on; the door is configured by itself."""
        self._settings = settings
        self._backends = backends
        self._proxy = proxy

    def answer(self, question: Notify, now: float, reply: Say = _unheard) -> Variables | None:
        """Answer every message of a question at the monotonic time `now`. Never raises.

        None: the answer goes through `reply`, which is called once, maybe before this returns; never if the client
        leaves before.
        """
        variables: Variables | None = _NOTHING
        try:
            for name, arguments in question.messages.items():
                if name == "ask":
                    variables = self._ask(arguments, now)
                elif name == "admit":
                    variables = self._admit(arguments, now, reply)
                elif name == "begun":
                    self._begun(arguments, now)
                elif name == "computing":
                    self._fleet.computing(_lease(arguments), _text(arguments.get("server")), now)
        except Exception:  # the edge places it by itself; counted and logged
            self._tally.fault(logger, "a question could not be answered")
            return _NOTHING
        return variables

    def _ask(self, arguments: Mapping[str, Value], now: float) -> Variables:
        started = self._clock()
        request_id = _text(arguments.get("id"))
        try:
            request = _request(arguments)
            if request.path in FORMS:
                self._look_at_form(request)
            ask = parse(request, self._settings)
            ticket = self._door.ask(ask, now, request_id)
            if ticket is None:
                return {"wait": 1}
            if self._learn is not None:
                self._learn(ask, request, ticket.choice.engine)
            return self._chosen(ask, ticket)
        except NeedsProxy as error:
            return self._proxied(error, request_id)
        except Refused as refused:
            return self._refusal(refused, request_id)
        finally:
            took = self._clock() - started
            self._tally.took(took)
            if self._timed is not None:
                self._timed(_lease(arguments), took)

    def _look_at_form(self, request: Request) -> None:
        """Of several fields the last one counts: who may not use every model is placed when all of them were seen."""
        if request.size > len(request.body) and self._door.tenants.limited(request.tenant):
            raise NeedsProxy

    def _admit(self, arguments: Mapping[str, Value], now: float, reply: Say) -> Variables | None:
        return None if self._door.admit(_lease(arguments), now, partial(self._tell, reply)) else _NOTHING

    def _tell(self, reply: Say, waiting: Waiting, answer: Ticket | Refused | None) -> None:
        reply(self._said(waiting, answer))

    def _said(self, waiting: Waiting, answer: Ticket | Refused | None) -> Variables:
        if isinstance(answer, Refused):
            return self._refusal(answer, waiting.request_id)
        return self._chosen(waiting.ask, answer) if answer is not None else _NOTHING

    def _chosen(self, ask: Ask, ticket: Ticket) -> Variables:
        choice = ticket.choice
        variables: Variables = {
            "server": choice.engine,
            "backend": self._backends[ask.model],
            "model": ask.model,
            "why": choice.why.value,
            "stick": ask.stick,
            "source": ask.source,
        }
        if self._decider is not None:
            variables["decider"] = self._decider
        if self._door.tenants.limited(ask.tenant):
            variables["asked"] = ask.adapter or ask.model
        if ticket.priority:
            variables["priority"] = ticket.priority
        if not ticket.retries:
            variables["retry"] = 0
        return variables

    def _proxied(self, error: NeedsProxy, request_id: str) -> Variables:
        if self._proxy:
            self._tally.proxied += 1
            return {"proxy": 1}
        message = 'body: what decides is not within the part that was read: put "model" first, or send a shorter one'
        refused = Refused(413, "request_too_large_error", str(error) or message, param="model", code="model_not_seen")
        return self._refusal(refused, request_id)

    def _refusal(self, refused: Refused, request_id: str) -> Variables:
        self._tally.refused(refused.status, refused.code, refused.model)
        return _refusal(refused, request_id)

    def _begun(self, arguments: Mapping[str, Value], now: float) -> None:
        lease, server, status = _lease(arguments), _text(arguments.get("server")), arguments.get("status")
        self._fleet.begun(lease, server, now, status if isinstance(status, int) else 200)
        stored = stored_id(_octets(arguments.get("head")))
        if stored:
            self._fleet.stored(lease, stored, now)
        self._door.freed(server, now)


def stored_id(head: bytes) -> str:
    """Return the id under which an answer of the Responses API that begins so is stored; empty when it has none."""
    found = _RESPONSE_ID.search(head)
    return found[1].decode() if found is not None else ""


def _request(arguments: Mapping[str, Value]) -> Request:
    octets, size = _octets(arguments.get("body")), arguments.get("size")
    return Request(
        id=_lease(arguments),
        method=_text(arguments.get("method")),
        path=_text(arguments.get("path")),
        content_type=_text(arguments.get("content_type")),
        session=_text(arguments.get("session")),
        source=_text(arguments.get("source")),
        tenant=_text(arguments.get("tenant")) or "-",
        size=size if isinstance(size, int) else len(octets),
        body=octets,
        priority_class=_text(arguments.get("class")),
    )


def _lease(arguments: Mapping[str, Value]) -> str:
    """The name that the edge gave this request alone: clients may send one request id many times."""
    return _text(arguments.get("lease")) or _text(arguments.get("id"))


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else ""


def _octets(value: Value) -> bytes:
    return value if isinstance(value, bytes) else _text(value).encode("utf-8", "surrogateescape")


def _refusal(refused: Refused, request_id: str) -> Variables:
    variables: Variables = {
        "status": refused.status,
        "body": openai_body(refused, request_id.encode("utf-8", "replace").decode()).decode(),
        "why": "refused",
    }
    if refused.retry_after is not None:
        variables["retry_after"] = refused.retry_after
    return variables
