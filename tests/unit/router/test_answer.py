"""Questions from the edge: answered with variables, refused with a reason, never with an exception."""

import json
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from router.admission import PriorityClass, RoomSettings
from router.answer import Answers, Variables
from router.door import Door, DoorSettings
from router.fleet import EngineSettings, Fleet, FleetSettings, Outcome, Probe
from router.joined import Recent
from router.metrics import Tally
from router.parse import Ask, ParseSettings
from router.spop import Notify, Value
from router.tenants import TenantSettings

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
DOOR = DoorSettings(
    RoomSettings(2, 30.0, (PriorityClass("normal"), PriorityClass("urgent", 8, -5))), models={"a": "tiny", "b": "tiny"}
)


class Desk:
    """Answers over a real fleet of two engines, with its tally and memory."""

    def __init__(
        self, *, ready: bool = True, backends: dict[str, str] | None = None, most: int = 0, proxy: bool = True
    ) -> None:
        engines = tuple(EngineSettings(name, f"http://127.0.0.1:{at}", "tiny") for at, name in enumerate("ab", 1))
        self.fleet = Fleet(FleetSettings(engines, max_requests=most), 0.0)
        for engine in engines if ready else ():
            self.fleet.probe(engine.name, Probe(ok=True), 0.0)
        self.tally = Tally("ab", ["x-session-id"])
        self.recent = Recent(10)
        self.door = Door(self.fleet, self.tally, self.recent, DOOR, 0.0)
        self.heard: list[Variables] = []
        ticks = count()
        self.answers = Answers(
            settings=ParseSettings(("tiny",)),
            backends={"tiny": "model-tiny"} if backends is None else backends,
            fleet=self.fleet,
            tally=self.tally,
            recent=self.recent,
            clock=lambda: next(ticks) * 1e-5,
            door=self.door,
            proxy=proxy,
        )

    def ask(self, **changes: Value) -> Variables:
        variables = self.answers.answer(Notify(1, 1, {"ask": ASK | changes}), 1.0)
        assert variables is not None
        return variables

    def admit(self, lease: str) -> Variables | None:
        return self.answers.answer(Notify(1, 1, {"admit": {"lease": lease}}), 1.0, self.heard.append)

    def end(self, lease: str, server: Value) -> None:
        self.fleet.finished(Outcome(lease, str(server), 200), 2.0)
        self.door.ended(lease, str(server), 2.0)

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


def test_request_that_finds_no_room_waits_and_is_answered_like_any_other() -> None:
    """`wait` at once; the answer to `admit` when an engine has room, with what a decision always says."""
    desk = Desk(most=1)
    first, second = desk.ask(lease="l1"), desk.ask(lease="l2")
    assert desk.ask(lease="l3") == {"wait": 1}
    assert desk.admit("l3") is None
    assert desk.heard == []
    desk.end("l2", second["server"])
    [answer] = desk.heard
    assert set(answer) == set(first)
    assert answer["server"] == second["server"]
    desk.end("l1", first["server"])
    desk.end("l3", answer["server"])
    assert desk.load() == (0, 0)


def test_first_byte_lets_the_next_one_in() -> None:
    """An engine that is full of prefill work has room as soon as that is done."""
    desk = Desk()
    desk.fleet.configure(FleetSettings((EngineSettings("a", "http://127.0.0.1:1", "tiny", 1.0),), max_wait_seconds=1.0))
    desk.ask(lease="l1")
    assert desk.ask(lease="l2") == {"wait": 1}
    desk.admit("l2")
    desk.answers.answer(Notify(1, 2, {"begun": {"lease": "l1", "server": "a", "status": 200}}), 1.0)
    assert [answer["server"] for answer in desk.heard] == ["a"]


def test_admit_of_nobody_is_answered_with_nothing() -> None:
    """A router that was restarted knows nobody who waits: the edge decides by itself."""
    assert Desk().admit("never heard of") == {}


def test_request_that_finds_the_room_full_is_refused_with_the_clients_own_id() -> None:
    """429, when to come back, and why; the same for one that waited in vain."""
    desk = Desk(most=1)
    for lease in ("l1", "l2", "l3", "l4"):
        desk.ask(lease=lease)
    refused = desk.ask(lease="l5", id="mine")
    error = json.loads(str(refused["body"]))
    assert (refused["status"], error["error"]["code"], error["request_id"]) == (429, "queue_full", "mine")
    assert isinstance(refused["retry_after"], int)
    desk.admit("l3")
    desk.door.tick(40.0)
    [late] = desk.heard
    error = json.loads(str(late["body"]))
    assert (late["status"], error["error"]["code"], error["request_id"]) == (429, "queue_timeout", "one")
    assert desk.tally.rejections == {"queue_full": 1, "queue_timeout": 1}


def test_class_that_is_asked_for_reaches_the_engine_as_a_number() -> None:
    """No number for the usual one."""
    desk = Desk()
    assert desk.ask(**{"class": "urgent"})["priority"] == -5
    assert "priority" not in desk.ask(lease="l2")


def test_one_of_several_routers_says_which_it_is() -> None:
    """Its name stands in the completion line then; a router that is alone need not say."""
    desk = Desk()
    assert "decider" not in desk.ask()
    desk.answers = Answers(
        settings=ParseSettings(("tiny",)),
        backends={"tiny": "model-tiny"},
        fleet=desk.fleet,
        tally=desk.tally,
        recent=desk.recent,
        clock=lambda: 0.0,
        decider=2,
    )
    assert desk.ask(lease="l2")["decider"] == 2


def test_storm_of_retries_ends_them() -> None:
    """`retry=0` while the budget is spent, absent before."""
    desk = Desk()
    assert "retry" not in desk.ask()
    for _ in range(20):
        desk.door.retries.completed(1, 1.0)
    assert desk.ask(lease="l2")["retry"] == 0


def test_request_for_the_http_side_is_sent_there_or_refused_where_there_is_none() -> None:
    """What only Python can serve takes no lease here."""
    cut: dict[str, Value] = {"body": b'{"messages": [{"role": "user", "content": "hel', "size": 10_000}
    for proxy in (True, False):
        desk = Desk(proxy=proxy)
        desk.answers.configure(ParseSettings(("tiny", "big")), {"tiny": "model-tiny", "big": "model-big"}, proxy=proxy)
        answer = desk.ask(**cut)
        assert (answer == {"proxy": 1}) is proxy or answer.get("status") == 413
        assert desk.load() == (0, 0)


def test_stored_response_is_continued_where_it_is() -> None:
    """The id in the first bytes of an answer, streamed or whole, binds what continues it."""
    heads = (
        b'event: response.created\ndata: {"response":{"id":"resp_1","created_at":1',
        b'{"id": "resp_1", "object": "response"',
    )
    for head in heads:
        desk = Desk()
        server = desk.ask(lease="l1")["server"]
        other = "b" if server == "a" else "a"
        begun: dict[str, Value] = {"lease": "l1", "server": server, "status": 200, "head": head}
        desk.answers.answer(Notify(1, 2, {"begun": begun}), 1.0)
        for _ in range(5):
            desk.fleet.decide(Ask(f"x{_}", "tiny", 99, "9", "x", "-", 10**6, False), 1.0)
        follow = json.dumps({"model": "tiny", "input": "go on", "previous_response_id": "resp_1"}).encode()
        answer = desk.ask(lease="l2", path="/v1/responses", session=None, source=None, body=follow, size=len(follow))
        assert answer["server"] == server != other


values = st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.text() | st.binary()


@given(st.dictionaries(st.sampled_from(["ask", "begun", "x"]), st.dictionaries(st.sampled_from([*ASK, "y"]), values)))
def test_any_arguments_are_answered(messages: dict[str, dict[str, Value]]) -> None:
    """Missing, odd or wrongly typed arguments never raise and are no fault of ours."""
    desk = Desk()
    answer = desk.answers.answer(Notify(1, 1, messages), 1.0)
    assert isinstance(answer, dict)
    assert desk.tally.internal_errors == 0


def test_engine_is_told_the_model_of_a_tenant_that_may_not_use_all() -> None:
    """What was allowed is said again where it counts: a body may name another model further on."""
    desk = Desk()
    assert "asked" not in desk.ask(tenant="acme")
    desk.door.tenants.configure((TenantSettings("acme", models=frozenset({"tiny"})), TenantSettings("free")), 1.0)
    assert desk.ask(id="two", tenant="acme")["asked"] == "tiny"
    assert "asked" not in desk.ask(id="three", tenant="free")


def test_form_of_a_limited_tenant_is_read_whole_before_it_is_placed() -> None:
    """The last field of a name counts: what was not seen could name a model that this tenant may not use."""
    form = b'--X\r\nContent-Disposition: form-data; name="model"\r\n\r\ntiny\r\n--X\r\n'
    asked: dict[str, Value] = {
        "path": "/v1/audio/transcriptions",
        "content_type": "multipart/form-data; boundary=X",
        "body": form,
        "size": len(form) + 1,
    }
    desk = Desk()
    desk.door.tenants.configure((TenantSettings("acme", models=frozenset({"tiny"})),), 0.0)
    assert desk.ask(**asked, tenant="acme") == {"proxy": 1}
    assert desk.ask(**asked, tenant="free")["server"] in {"a", "b"}
    assert desk.ask(**(asked | {"size": len(form)}), tenant="acme", id="two")["server"] in {"a", "b"}
