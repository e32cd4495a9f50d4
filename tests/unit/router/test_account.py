"""Completion events: every line reaches fleet, metrics and log once; garbage is counted and harms nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.account import LONGEST_LINE, Accounts, Event, Framing, Journal, tokens_of
from router.admission import RoomSettings
from router.door import Door, DoorSettings
from router.fleet import EngineSettings, Fleet, FleetSettings, Probe
from router.joined import Decided, Recent, Spent
from router.metrics import Tally
from router.parse import Ask
from router.tenants import TenantSettings

EVENT: dict[str, Any] = {
    "ts": 1700000000.123,
    "id": "one",
    "client": "10.0.0.1",
    "method": "POST",
    "path": "/v1/chat/completions",
    "status": 200,
    "backend": "model-tiny",
    "server": "a",
    "chosen": "a",
    "why": "new",
    "model": "tiny",
    "source": "x-session-id",
    "state": "----",
    "retries": "0",
    "queued_ms": 0,
    "connect_ms": 1,
    "headers_ms": 20,
    "total_ms": 90,
    "bytes_in": 900,
    "bytes_out": 4000,
}


class Office:
    """Accounts over a real fleet with one request in flight."""

    def __init__(self) -> None:
        engines = tuple(EngineSettings(name, f"http://127.0.0.1:{at}", "tiny") for at, name in enumerate("ab", 1))
        self.fleet = Fleet(FleetSettings(engines), 0.0)
        for engine in engines:
            self.fleet.probe(engine.name, Probe(ok=True), 0.0)
        self.fleet.decide(Ask("one", "tiny", 7, "7", "x-session-id", "-", 100, False), 0.0)
        self.tally = Tally("ab", (), ["tiny"], ["acme"])
        self.recent = Recent(4)
        self.recent.add("one", Decided(100, 60, 0.0125))
        self.journal = Journal(self.tally)
        settings = DoorSettings(RoomSettings(5), (TenantSettings("acme", tokens_per_minute=1000),), 0.2, {"a": "tiny"})
        self.door = Door(self.fleet, self.tally, self.recent, settings, 0.0)
        self.accounts = Accounts(self.fleet, self.tally, self.recent, self.journal, self.door)

    def tell(self, **changes: Any) -> None:
        self.accounts.line(json.dumps(EVENT | changes).encode(), 1.0)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.take().splitlines()]


def framed(*lines: bytes) -> bytes:
    return b"".join(str(len(line)).encode() + b" " + line for line in lines)


def test_completion_ends_the_lease_and_writes_one_joined_line() -> None:
    """The end of a request frees its engine and is told once, with what had been decided."""
    office = Office()
    office.tell()
    assert office.fleet.snapshot(1.0).leases == 0
    [line] = office.lines()
    assert (line["engine"], line["why"], line["status"]) == ("a", "new", 200)
    assert (line["prompt_tokens"], line["uncached_tokens"], line["cost_ms"]) == (100, 60, 12.5)
    assert office.tally.outcomes == {("a", "2xx"): 1}
    assert len(office.recent) == 0


def test_completion_told_twice_or_of_an_unknown_request_is_counted_and_harmless() -> None:
    """Events may come twice, or from before a restart."""
    office = Office()
    office.tell()
    office.tell()
    office.tell(id="never heard of")
    assert office.fleet.snapshot(1.0).leases == 0
    assert [line.get("prompt_tokens") for line in office.lines()] == [100, None, None]


def test_completion_is_known_by_the_edges_own_name_for_the_request() -> None:
    """Clients may send one request id many times; the line still shows theirs."""
    office = Office()
    office.tell(id="theirs", lease="one")
    assert office.fleet.snapshot(1.0).leases == 0
    [line] = office.lines()
    assert (line["id"], line["prompt_tokens"]) == ("theirs", 100)


def test_request_that_the_router_carried_is_told_but_not_ended_again() -> None:
    """The HTTP side has given back the lease and counted the outcome; the line names the engine that served."""
    office = Office()
    office.tell(backend="router-proxy", server="router", served="a", chosen="-", usage="7,4,3", tenant="acme")
    assert office.fleet.snapshot(1.0).leases == 1
    assert office.tally.outcomes == {}
    [line] = office.lines()
    assert (line["engine"], line["prompt_tokens"]) == ("a", 100)
    assert office.tally.tokens["acme", "tiny", "prompt"] == 7


def test_line_of_another_routers_request_ends_nothing_here() -> None:
    """Each router takes the requests it decided; those of nobody belong to the first. Tenants pay in all of them."""
    office = Office()
    office.tell(decider=1, tenant="acme", bytes_in=1000, bytes_out=830)
    assert office.fleet.snapshot(1.0).leases == 1
    assert (office.tally.outcomes, office.lines()) == ({}, [])
    assert office.door.tenants.left()["acme"] < 1000
    second = Accounts(office.fleet, office.tally, office.recent, office.journal, office.door, decider=1)
    second.line(json.dumps(EVENT).encode(), 1.0)
    assert office.fleet.snapshot(1.0).leases == 1
    second.line(json.dumps(EVENT | {"decider": 1}).encode(), 1.0)
    assert office.fleet.snapshot(1.0).leases == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "home"),
        ({"decider": 1}, "home"),
        ({"status": 503, "server": "<NOSRV>"}, "new"),
        ({"stick": ""}, "new"),
        ({"slot": 1}, "new"),
    ],
)
def test_session_is_at_home_where_it_was_served_without_its_router(changes: dict[str, Any], why: str) -> None:
    """By the edge alone or by a router that stood in; what failed or belongs to another router tells nothing."""
    office = Office()
    alone = {"decider": -1, "why": "fallback", "chosen": "", "server": "b", "stick": "77", "bytes_in": 1000}
    office.tell(lease="other", **alone | changes)
    choice = office.fleet.decide(Ask("two", "tiny", 8, "77", "x-session-id", "-", 300, False), 2.0)
    assert choice.why == why
    assert choice.uncached_tokens == (200 if why == "home" else 300)
    assert choice.engine == "b"


def test_end_of_a_request_gives_its_place_to_who_waits() -> None:
    """The completion line is what lets the next one in, and what makes a client that left forgotten."""
    office = Office()
    office.fleet.configure(
        FleetSettings(
            tuple(EngineSettings(name, f"http://127.0.0.1:{at}", "tiny") for at, name in enumerate("ab", 1)),
            max_requests=1,
        )
    )
    asks = [Ask(name, "tiny", 8, "8", "x", "acme", 100, False) for name in ("two", "three", "four")]
    assert office.door.ask(asks[0], 1.0) is not None
    heard: list[str] = []
    for ask in asks[1:]:
        assert office.door.ask(ask, 1.0) is None
        assert office.door.admit(ask.id, 1.0, lambda waiting, _: heard.append(waiting.ask.id))
    office.tell(id="three", server="<NOSRV>", chosen="", status=-1, state="CR--", tenant="acme")
    assert (heard, len(office.door.room)) == ([], 1)
    office.tell(id="two", server="b", chosen="b")
    assert heard == ["four"]


def test_tokens_are_the_engines_where_it_said_and_estimated_where_not() -> None:
    """The prompt as it was estimated when it was decided, the answer by its length; a failure costs nothing."""
    decided = Decided(100, 60, 0.1, "acme", stream=True)
    event = Event("x", status=200, bytes_in=4600, bytes_out=600 + 230 * 40)
    assert tokens_of(event, decided) == Spent(100, 40)
    assert tokens_of(event, Decided(100, 60, 0.1)) == Spent(100, 230 * 10)
    assert tokens_of(event, None) == Spent(1000, 40)
    assert tokens_of(Event("x", status=200, usage="7,4,3"), decided) == Spent(7, 3)
    assert tokens_of(Event("x", status=200, usage="7,,x"), decided) == Spent(100, 0)
    assert tokens_of(Event("x", status=503, bytes_out=9999), decided) == Spent(0, 0)
    spoken = Event("x", path="/v1/audio/speech", status=200, bytes_out=600 + 48_000)
    assert tokens_of(spoken, Decided(100, 60, 0.1)) == Spent(100, 50)  # a second of it


def test_tenant_pays_the_answer_and_gets_back_what_failed() -> None:
    """A prompt is paid when it comes, an answer when it is over; who got an error instead pays neither."""
    office = Office()
    for name, status, left in (("two", 200, 1000 - 100 - 40), ("three", 503, 860)):
        office.door.ask(Ask(name, "tiny", 8, "8", "x", "acme", 100, True), 1.0)
        office.tell(id=name, tenant="acme", status=status, bytes_out=600 + 230 * 40)
        assert office.door.tenants.left()["acme"] == left
    assert office.tally.tokens == {("acme", "tiny", "prompt"): 100, ("acme", "tiny", "completion"): 40}


def test_first_byte_counts_from_the_requests_headers() -> None:
    """Waiting for a place and connecting are part of what a client waits."""
    office = Office()
    office.tell(queued_ms=1500, connect_ms=1, headers_ms=20, total_ms=1600)
    office.tell(status=503, headers_ms=-1)
    office.tell(server="<NOSRV>", status=429)
    [histogram] = office.tally.first_bytes.values()
    assert (sum(histogram.counts), round(histogram.total, 3)) == (1, 1.521)
    assert office.tally.durations["tiny"].total == 1.6


def test_retries_spend_the_budget() -> None:
    """What the edge tried again is what the budget is made of."""
    office = Office()
    for _ in range(12):
        office.tell(retries="+1")
    assert office.door.retries.spent(1.0)


def test_retries_are_read_from_number_and_from_haproxys_text() -> None:
    """HAProxy marks a retry on another server as `+1`."""
    office = Office()
    for retries in ("+1", 2, "0", -1):
        office.tell(retries=retries)
    assert office.tally.retries == 3
    assert office.tally.garbage == 0


def test_request_without_an_engine_counts_for_none() -> None:
    """A server name that is no engine of ours makes no series."""
    office = Office()
    office.tell(server="<NOSRV>", status=503)
    office.tell(server="stranger", status=-1)
    assert office.tally.outcomes == {("none", "5xx"): 1, ("none", "none"): 1}
    assert [line["engine"] for line in office.lines()] == ["", "stranger"]


def test_unknown_and_missing_keys_are_tolerated() -> None:
    """An edge of another version tells more or less, and is understood."""
    office = Office()
    office.accounts.line(b'{"id":"one","new":[1]}', 1.0)
    assert office.tally.garbage == 0
    assert office.fleet.snapshot(1.0).leases == 0


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode) | st.just(b'{"id":7}') | st.just(b'{"id":"one"'))
def test_garbage_is_counted_and_never_raises(octets: bytes) -> None:
    """A line that is no event changes nothing but a counter."""
    office = Office()
    office.accounts.line(octets, 1.0)
    assert office.tally.garbage == 1
    assert office.fleet.snapshot(1.0).leases == 1
    assert office.lines() == []


def test_no_journal_means_no_lines() -> None:
    """Switched off, the log costs nothing and the accounts are the same."""
    office = Office()
    accounts = Accounts(office.fleet, office.tally, office.recent, None)
    accounts.line(json.dumps(EVENT).encode(), 1.0)
    assert office.lines() == []
    assert office.fleet.snapshot(1.0).leases == 0


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 50), max_size=30))
def test_framing_gives_the_lines_wherever_the_stream_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    """Octet-counted lines come out as they went in."""
    stream, framing, heard = framed(*lines), Framing(), list[bytes]()
    for cut in cuts:
        heard += framing.feed(stream[:cut])
        stream = stream[cut:]
    assert heard + framing.feed(stream) == lines
    assert not framing.broken


@given(st.lists(st.binary(max_size=100), max_size=20))
def test_framing_never_raises_and_stays_bounded(chunks: list[bytes]) -> None:
    """Whatever comes, the connection is dropped at worst."""
    framing = Framing()
    for chunk in chunks:
        framing.feed(chunk)
    assert len(framing._rest) <= LONGEST_LINE + 8


def test_framing_gives_up_on_a_stream_that_is_not_counted() -> None:
    """No length, a length too long, or no digits: broken, after the good lines."""
    for bad in (b"GET / HTTP/1.1", f"{LONGEST_LINE + 1} x".encode(), b"12345678", b"-1 x", b" x", b"\xb2 xx"):
        framing = Framing()
        assert framing.feed(framed(b"good") + bad) == [b"good"]
        assert framing.broken
        assert framing.feed(b"1 x") == []


def test_journal_drops_what_stdout_does_not_take() -> None:
    """Lines nobody reads are bounded in memory, and counted."""
    office = Office()
    for _ in range(5):
        office.journal.add(b"x" * 1_000_000)
    assert office.tally.log_dropped == 1
    assert len(office.journal.take()) <= 4_194_304
    assert office.journal.take() == b""


def test_recent_forgets_the_oldest_at_capacity() -> None:
    """Decisions whose end is never told make room for new ones."""
    recent = Recent(2)
    for name in "abc":
        recent.add(name, Decided(1, 1, 0.0))
    assert recent.take("a") is None
    assert recent.take("c") is not None
    assert len(recent) == 1
    none = Recent(0)
    none.add("a", Decided(1, 1, 0.0))
    assert len(none) == 0
