"""The door: who comes in, who waits, who is turned away, and whose turn it is when an engine has room."""

from collections import defaultdict

import pytest

from router.admission import ENTER_SECONDS, PriorityClass, RoomSettings, Ticket, Waiting
from router.door import Door, DoorSettings
from router.errors import ModelNotAllowed, NoEngine, QueueFull, QueueTimeout, Refused, Saturated, TokensSpent
from router.fleet import EngineSettings, Fleet, FleetSettings, Outcome, Probe
from router.joined import Recent
from router.metrics import Tally
from router.parse import Ask, response_key
from router.tenants import TenantSettings

CLASSES = (PriorityClass("normal"), PriorityClass("urgent", 8, -5), PriorityClass("batch", 1, 5))
TENANTS = (
    TenantSettings("counted", tokens_per_minute=1000),
    TenantSettings("narrow", frozenset({"other"})),
    TenantSettings("slow", priority_class="batch"),
)


class Brittle(defaultdict[tuple[str, str], int]):
    """Counts of decisions with a fault: that of `bad` breaks after its engine was chosen."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(int)
        self.fleet = fleet

    def __setitem__(self, key: tuple[str, str], count: int) -> None:
        if self.fleet._leases.find("bad") is not None:
            self.fleet.finished(Outcome("bad", "", 0), 1.0)
            raise RuntimeError("a fault")
        super().__setitem__(key, count)


class House:
    """A door before engines `a` and `b`, each full with one request."""

    def __init__(self, engines: str = "a", capacity: int = 10, most: int = 1) -> None:
        names = tuple(EngineSettings(name, f"http://127.0.0.1:{at}", "tiny") for at, name in enumerate(engines, 1))
        self.fleet = Fleet(FleetSettings(names, max_requests=most), 0.0)
        for engine in names:
            self.fleet.probe(engine.name, Probe(ok=True), 0.0)
        self.tally = Tally(engines, ["x"], ["tiny"], ["counted"], [each.name for each in CLASSES])
        room = RoomSettings(capacity, 30.0, CLASSES)
        settings = DoorSettings(room, TENANTS, 0.2, dict.fromkeys(engines, "tiny"))
        self.tally.decisions = Brittle(self.fleet)
        self.door = Door(self.fleet, self.tally, Recent(100), settings, 0.0)
        self.answers: dict[str, Ticket | Refused | None] = {}
        self.order: list[str] = []

    def ask(self, name: str, tenant: str = "-", wanted: str = "", now: float = 1.0, **more: int) -> Ticket | None:
        key, tokens, previous = more.get("key", hash(name)), more.get("tokens", 100), more.get("previous", 0)
        ask = Ask(name, "tiny", key, "7", "x", tenant, tokens, False, previous=previous, priority_class=wanted)
        return self.door.ask(ask, now, f"id-{name}")

    def wait(self, name: str, tenant: str = "-", wanted: str = "", now: float = 1.0, **more: int) -> None:
        """Ask, be told to wait, and do so."""
        assert self.ask(name, tenant, wanted, now, **more) is None
        assert self.door.admit(name, now, self.hear)

    def hear(self, waiting: Waiting, answer: Ticket | Refused | None) -> None:
        assert waiting.ask.id not in self.answers
        self.answers[waiting.ask.id] = answer
        self.order.append(waiting.ask.id)

    def end(self, name: str, engine: str, now: float = 2.0) -> None:
        self.fleet.finished(Outcome(name, engine, 200, "--", 0, engine), now)
        self.door.ended(name, engine, now)

    def went(self, name: str) -> str:
        answer = self.answers[name]
        assert isinstance(answer, Ticket)
        return answer.choice.engine


def test_who_finds_room_does_not_wait() -> None:
    """An engine below its cap is given at once."""
    ticket = House().ask("one")
    assert ticket is not None
    assert (ticket.choice.engine, ticket.retries, ticket.priority) == ("a", True, 0)


def test_who_finds_none_waits_until_somebody_is_done() -> None:
    """The end of a request lets the next one in, exactly once, with a lease."""
    house = House()
    house.ask("one")
    house.wait("two")
    house.wait("three")
    assert house.answers == {}
    house.end("one", "a")
    assert house.order == ["two"]
    assert house.fleet.snapshot(2.0).leases == 1
    house.end("two", "a")
    house.end("three", "a")
    assert house.order == ["two", "three"]
    assert (len(house.door.room), house.fleet.snapshot(2.0).leases) == (0, 0)
    assert sum(house.tally.waits["normal"].counts) == 2


def test_who_comes_later_does_not_overtake_those_who_wait() -> None:
    """While somebody waits for a model, a new request joins them even if an engine has just got room."""
    house = House()
    house.ask("one")
    house.wait("two")
    house.fleet.finished(Outcome("one", "a", 200, "--", 0, "a"), 2.0)
    assert house.ask("three") is None


def test_room_that_is_found_between_the_two_questions_is_given_at_once() -> None:
    """Who enters looks first whether it must wait at all."""
    house = House()
    house.ask("one")
    assert house.ask("two") is None
    house.end("one", "a")
    assert house.order == []
    assert house.door.admit("two", 2.0, house.hear)
    assert house.went("two") == "a"


def test_nobody_waits_where_there_is_no_room() -> None:
    """Without a waiting room the cap itself refuses."""
    house = House(capacity=0)
    house.ask("one")
    with pytest.raises(Saturated):
        house.ask("two")


def test_full_room_refuses_and_pays_back() -> None:
    """429, and what the prompt had cost its tenant is given back."""
    house = House(capacity=1)
    house.ask("one")
    house.wait("two")
    before = house.door.tenants.left()["counted"]
    with pytest.raises(QueueFull):
        house.ask("three", "counted")
    assert house.door.tenants.left()["counted"] == before


def test_who_waited_too_long_is_told_and_forgotten() -> None:
    """The deadline is an answer, not silence; who never entered is dropped without one."""
    house = House()
    house.ask("one")
    house.wait("two", "counted")
    assert house.ask("never") is None
    house.door.tick(1.0 + ENTER_SECONDS)
    assert not house.door.admit("never", 3.5, house.hear)
    house.door.tick(31.0)
    answer = house.answers["two"]
    assert isinstance(answer, QueueTimeout)
    assert answer.retry_after is not None
    assert len(house.door.room) == 0
    assert house.door.tenants.left()["counted"] == 1000
    house.end("one", "a", 32.0)
    assert house.order == ["two"]


def test_client_that_leaves_takes_no_turn() -> None:
    """Its completion line comes before its turn: nobody is told, nothing is held, the next one goes."""
    house = House()
    house.ask("one")
    house.wait("two", "counted")
    house.wait("three")
    house.fleet.finished(Outcome("two", "", -1, "CR"), 2.0)
    house.door.ended("two", "", 2.0)
    house.end("one", "a")
    assert house.order == ["three"]
    assert house.door.tenants.left()["counted"] == 1000


def test_urgent_class_goes_first_and_vllm_is_told() -> None:
    """The ticket carries the class's number; a tenant cannot ask for more than its own class."""
    house = House()
    house.ask("one")
    for name, tenant, wanted in (("n", "-", ""), ("s", "slow", "urgent"), ("u", "-", "urgent")):
        house.wait(name, tenant, wanted)
    for done in ("one", "u", "n", "s"):
        house.end(done, "a")
    assert house.order[0] == "u"
    told = {name: answer.priority for name, answer in house.answers.items() if isinstance(answer, Ticket)}
    assert told == {"u": -5, "n": 0, "s": 5}


def test_request_bound_to_one_engine_holds_no_other() -> None:
    """What continues a stored response waits for its engine alone; the rest goes on elsewhere."""
    house = House("ab")
    first = house.ask("one")
    assert first is not None
    home = first.choice.engine
    other = "b" if home == "a" else "a"
    house.fleet.begun("one", home, 1.0)
    house.fleet.stored("one", "resp_1", 1.0)
    house.ask("two")
    house.wait("bound", key=1, previous=response_key("-", "tiny", "resp_1"))
    house.wait("free", key=2)
    house.end("two", other)
    assert house.order == ["free"]
    house.end("one", home)
    assert house.order == ["free", "bound"]
    assert house.went("bound") == home


def test_engines_that_all_go_end_the_waiting() -> None:
    """When no engine is left, those who wait hear it at once instead of at their deadline."""
    house = House()
    house.ask("one")
    house.wait("two")
    house.wait("three")
    house.fleet.drain("a")
    house.door.tick(2.0)
    assert all(isinstance(answer, NoEngine) for answer in house.answers.values())
    assert house.order == ["two", "three"]


def test_fault_while_letting_in_is_told_as_nothing_and_blocks_nobody() -> None:
    """A request that cannot be decided is the edge's to place; the next one is not held up by it."""
    house = House()
    house.ask("one")
    house.wait("bad")
    house.wait("good")
    house.end("one", "a")
    assert house.answers["bad"] is None
    assert house.went("good") == "a"
    assert house.tally.internal_errors == 1


def test_tenants_are_held_to_models_and_tokens_before_the_fleet_is_asked() -> None:
    """Neither refusal takes a lease."""
    house = House()
    with pytest.raises(ModelNotAllowed):
        house.ask("one", "narrow")
    house.ask("two", "counted", tokens=900)
    with pytest.raises(TokensSpent):
        house.ask("three", "counted", tokens=900)
    assert house.fleet.snapshot(1.0).leases == 1


def test_spent_retry_budget_shows_in_the_ticket() -> None:
    """In a storm the edge is told to try once."""
    house = House(most=100)
    for _ in range(20):
        house.door.retries.completed(2, 1.0)
    ticket = house.ask("one")
    assert ticket is not None
    assert not ticket.retries


def test_reload_keeps_those_who_wait() -> None:
    """New settings are for those who come."""
    house = House()
    house.ask("one")
    house.wait("two")
    house.door.configure(DoorSettings(RoomSettings(0, 5.0), models={"a": "tiny"}), 2.0)
    house.end("one", "a")
    assert house.order == ["two"]
    with pytest.raises(Saturated):
        house.ask("three")
