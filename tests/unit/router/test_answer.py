"""Questions from the edge: answered with variables, refused with a reason, never with an exception."""

import json
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from router.answer import Answers, Variables
from router.fleet import EngineSettings, Fleet, FleetSettings, Outcome, Probe
from router.joined import Recent
from router.metrics import Tally
from router.parse import ParseSettings
from router.spop import Notify, Value

BODY = json.dumps({"messages": [{"role": "user", "content": "hello"}], "model": "tiny"}).encode()
ASK: dict[str, Value] = {
    "id": "one",
    "method": "POST",
    "path": "/v1/chat/completions",
    "content_type": "application/json",
    "session": "s",
    "source": "x-session-id",
    "tenant": "-",
    "size": len(BODY),
    "body": BODY,
}


class Desk:
    """Answers over a real fleet of two engines, with its tally and memory."""

    def __init__(self, *, ready: bool = True, backends: dict[str, str] | None = None) -> None:
        engines = tuple(EngineSettings(name, f"http://127.0.0.1:{at}", "tiny") for at, name in enumerate("ab", 1))
        self.fleet = Fleet(FleetSettings(engines), 0.0)
        for engine in engines if ready else ():
            self.fleet.probe(engine.name, Probe(ok=True), 0.0)
        self.tally = Tally("ab", ["x-session-id"])
        self.recent = Recent(10)
        ticks = count()
        self.answers = Answers(
            settings=ParseSettings(("tiny",)),
            backends={"tiny": "model-tiny"} if backends is None else backends,
            fleet=self.fleet,
            tally=self.tally,
            recent=self.recent,
            clock=lambda: next(ticks) * 1e-5,
        )

    def ask(self, **changes: Value) -> Variables:
        variables = self.answers.answer(Notify(1, 1, {"ask": ASK | changes}), 1.0)
        assert variables is not None
        return variables

    def load(self) -> tuple[int, int]:
        engines = self.fleet.snapshot(1.0).engines
        return sum(engine.in_flight for engine in engines), sum(engine.uncached_tokens for engine in engines)


def test_ask_is_answered_with_the_engine_and_why() -> None:
    """The edge gets all it needs to send the request and to remember the session."""
    desk = Desk()
    answer = desk.ask()
    assert set(answer) == {"server", "backend", "model", "why", "stick", "source"}
    assert (answer["backend"], answer["model"], answer["why"]) == ("model-tiny", "tiny", "new")
    assert answer["source"] == "x-session-id"
    again = desk.ask(id="two")
    assert (again["server"], again["why"], again["stick"]) == (answer["server"], "home", answer["stick"])
    assert desk.tally.decisions[str(answer["server"]), "home"] == 1
    assert sum(desk.tally.seconds.counts) == 2
    assert desk.recent.take("one") is not None


def test_begun_gives_the_prefill_load_back() -> None:
    """The first byte ends the prefill: the tokens are off the engine's account, the request is not."""
    desk = Desk()
    server = desk.ask()["server"]
    assert desk.load()[1] > 0
    begun: dict[str, Value] = {"id": "one", "server": server, "status": 200}
    assert desk.answers.answer(Notify(1, 2, {"begun": begun}), 1.0) == {}
    assert desk.load() == (1, 0)


def test_requests_that_share_an_id_hold_a_lease_each() -> None:
    """A client may send one request id many times; the edge's own name for a request is used once."""
    desk = Desk()
    servers = [desk.ask(id="same", lease=lease)["server"] for lease in ("l1", "l2")]
    assert desk.load()[0] == 2
    desk.answers.answer(
        Notify(1, 2, {"begun": {"id": "same", "lease": "l1", "server": servers[0], "status": 200}}), 1.0
    )
    desk.fleet.finished(Outcome("l1", str(servers[0]), 200), 1.0)
    assert desk.load()[0] == 1
    refused = desk.ask(id="same", lease="l3", body=b"{}", size=2)
    assert json.loads(str(refused["body"]))["request_id"] == "same"


def test_refused_request_is_answered_with_status_and_reason() -> None:
    """A refusal carries OpenAI's shape and the request's id, ready to be sent."""
    desk = Desk()
    answer = desk.ask(body=b"{", size=1)
    assert answer["status"] == 400
    body = json.loads(str(answer["body"]))
    assert body["request_id"] == "one"
    assert body["error"]["type"].startswith("router_")
    assert "server" not in answer
    assert "retry_after" not in answer
    assert desk.tally.refusals == {400: 1}


def test_no_engine_is_refused_with_retry_after() -> None:
    """While nothing can serve the model, the client learns when to come back."""
    answer = Desk(ready=False).ask()
    assert answer["status"] == 503
    assert isinstance(answer["retry_after"], int)
    assert answer["retry_after"] > 0


def test_fault_of_ours_is_answered_with_nothing() -> None:
    """If deciding itself breaks, the edge gets an empty answer and falls back; the fault is counted."""
    desk = Desk(backends={})
    assert desk.ask() == {}
    assert desk.tally.internal_errors == 1


def test_session_with_odd_octets_is_decided() -> None:
    """A header that is not UTF-8 names a session like any other."""
    odd = b"\xff\xfe".decode("utf-8", "surrogateescape")
    desk = Desk()
    assert desk.ask(session=odd)["why"] == "new"
    assert desk.ask(session=odd, id="two")["why"] == "home"


values = st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.text() | st.binary()


@given(st.dictionaries(st.sampled_from(["ask", "begun", "x"]), st.dictionaries(st.sampled_from([*ASK, "y"]), values)))
def test_any_arguments_are_answered(messages: dict[str, dict[str, Value]]) -> None:
    """Missing, odd or wrongly typed arguments never raise and are no fault of ours."""
    desk = Desk()
    answer = desk.answers.answer(Notify(1, 1, messages), 1.0)
    assert isinstance(answer, dict)
    assert desk.tally.internal_errors == 0
