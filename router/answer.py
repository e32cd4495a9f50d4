"""The edge's questions, answered: arguments → parse → fleet → variables. No I/O, no waiting, no exception out."""

import logging
from collections.abc import Callable, Mapping

from router.errors import Refused, openai_body
from router.fleet import Fleet
from router.joined import Decided, Recent
from router.metrics import Tally
from router.parse import ParseSettings, Request, parse
from router.spop import Notify, Value

logger = logging.getLogger(__name__)

Variables = dict[str, Value]
Reply = Callable[[Variables], None]
_NOTHING: Variables = {}


def _nobody(_: Variables) -> None:
    """Take an answer for which nobody waits."""


class Answers:
    """What is said to the edge.

    `ask` is answered with `server backend model why stick source`, or with `status body why` (and `retry_after`) for a
    request that is refused. `begun` needs no answer. A fault of ours is answered with nothing: the edge then
    decides by itself.
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
    ) -> None:
        self._settings = settings
        self._backends = backends
        self._fleet = fleet
        self._tally = tally
        self._recent = recent
        self._clock = clock

    def configure(self, settings: ParseSettings, backends: Mapping[str, str]) -> None:
        """Read requests by new settings from now on."""
        self._settings, self._backends = settings, backends

    def answer(self, question: Notify, now: float, reply: Reply = _nobody) -> Variables | None:
        """Answer every message of a question at the monotonic time `now`. Never raises.

        None: not yet, `reply` is called with the answer later.
        """
        variables = _NOTHING
        try:
            for name, arguments in question.messages.items():
                if name == "ask":
                    variables = self._ask(arguments, now)
                elif name == "begun":
                    self._begun(arguments, now)
        except Exception:
            self._tally.fault(logger, "a question could not be answered")
            return _NOTHING
        return variables

    def _ask(self, arguments: Mapping[str, Value], now: float) -> Variables:
        started = self._clock()
        try:
            return self._decide(_request(arguments), now)
        except Refused as refused:
            self._tally.refusals[refused.status] += 1
            return _refusal(refused, _text(arguments.get("id")))
        finally:
            self._tally.took(self._clock() - started)

    def _decide(self, request: Request, now: float) -> Variables:
        ask = parse(request, self._settings)
        choice = self._fleet.decide(ask, now)
        self._tally.decided(choice.engine, choice.why, ask.source, ask.prompt_tokens, choice.uncached_tokens)
        self._recent.add(ask.id, Decided(ask.prompt_tokens, choice.uncached_tokens, choice.cost_seconds))
        return {
            "server": choice.engine,
            "backend": self._backends[ask.model],
            "model": ask.model,
            "why": choice.why.value,
            "stick": ask.stick,
            "source": ask.source,
        }

    def _begun(self, arguments: Mapping[str, Value], now: float) -> None:
        status = arguments.get("status")
        self._fleet.begun(
            _lease(arguments),
            _text(arguments.get("server")),
            now,
            status if isinstance(status, int) else 200,
        )


def _request(arguments: Mapping[str, Value]) -> Request:
    body, size = arguments.get("body"), arguments.get("size")
    octets = body if isinstance(body, bytes) else _text(body).encode("utf-8", "surrogateescape")
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
    )


def _lease(arguments: Mapping[str, Value]) -> str:
    """The name that the edge gave this request alone: clients may send one request id many times."""
    return _text(arguments.get("lease")) or _text(arguments.get("id"))


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else ""


def _refusal(refused: Refused, request_id: str) -> Variables:
    variables: Variables = {
        "status": refused.status,
        "body": openai_body(refused, request_id.encode("utf-8", "replace").decode()).decode(),
        "why": "refused",
    }
    if refused.retry_after is not None:
        variables["retry_after"] = refused.retry_after
    return variables
