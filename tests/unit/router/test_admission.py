"""The waiting room: bounded, fair between classes and tenants, in order within one, and nobody stays for ever."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.admission import ENTER_SECONDS, PriorityClass, RoomSettings, Ticket, Waiting, WaitingRoom
from router.errors import QueueFull, Refused
from router.parse import Ask

CLASSES = (PriorityClass("batch", 1, 10), PriorityClass("normal", 4), PriorityClass("urgent", 16, -10))
QUANTUM = 1024


def ask(name: str, tenant: str = "t", model: str = "tiny", tokens: int = 100) -> Ask:
    return Ask(name, model, 7, "7", "fingerprint", tenant, tokens, False)


def unheard(_: Waiting, __: Ticket | Refused | None) -> None:
    """Nobody listens."""


class Hall:
    """A room that is filled and emptied by name."""

    def __init__(self, capacity: int = 100_000, seconds: float = 30.0) -> None:
        self.room = WaitingRoom(RoomSettings(capacity, seconds, CLASSES))
        self._names = 0

    def enter(self, tenant: str = "t", wanted: str = "batch", model: str = "tiny", now: float = 0.0, **of: int) -> str:
        self._names += 1
        name = f"r{self._names}"
        self.room.announce(ask(name, tenant, model, **of), wanted, now)
        self.room.enter(name, unheard, now)
        return name

    def next(self, model: str = "tiny", now: float = 0.0) -> Waiting | None:
        """Let the head go at the price of its prompt."""
        waiting = self.room.head((model, ""))
        if waiting is not None:
            self.room.admitted(waiting, waiting.ask.prompt_tokens, now)
        return waiting

    def order(self, most: int = 100_000) -> list[Waiting]:
        found: list[Waiting] = []
        while len(found) < most and (waiting := self.next()) is not None:
            found.append(waiting)
        return found


def test_tenant_is_served_in_order_of_coming() -> None:
    """Within one tenant and class, who comes first goes first."""
    hall = Hall()
    names = [hall.enter() for _ in range(20)]
    assert [waiting.ask.id for waiting in hall.order()] == names
    assert len(hall.room) == 0


def test_tenants_deep_in_debt_still_take_turns() -> None:
    """However large the prompts were, everybody has one turn before anybody has a second."""
    hall = Hall()
    for number in range(50):
        hall.enter(f"t{number}", tokens=200_000 + number)
        hall.enter(f"t{number}", tokens=1)
    first = [waiting.ask.tenant for waiting in hall.order(50)]
    assert sorted(first) == sorted({f"t{number}" for number in range(50)})
    assert len({waiting.ask.tenant for waiting in hall.order()}) == 50


def test_urgent_request_overtakes_all_that_wait_in_lower_classes() -> None:
    """A class that has had nothing is next, however many wait before it."""
    hall = Hall()
    for _ in range(50):
        hall.enter(wanted="batch", tokens=5000)
    for _ in range(5):
        hall.next()
    urgent = hall.enter(wanted="urgent")
    assert hall.order(1)[0].ask.id == urgent


def test_class_that_was_away_is_owed_nothing() -> None:
    """Who comes after others were served alone shares from then on: it has nothing to catch up on."""
    hall = Hall()
    for _ in range(100):
        hall.enter(wanted="normal", tokens=5000)
    for _ in range(50):
        hall.next()
    for _ in range(50):
        hall.enter(wanted="batch", tokens=5000)
    served = Counter(waiting.priority_class for waiting in hall.order(20))
    assert served["normal"] >= 14  # four of five, within one request


def test_flooding_tenant_does_not_hold_another() -> None:
    """Who sends one request among a thousand of somebody else waits for one turn of theirs, not for all."""
    hall = Hall()
    for _ in range(1000):
        hall.enter("flood", tokens=4000)
    quiet = hall.enter("quiet", tokens=4000)
    served = [waiting.ask.id for waiting in hall.order(4)]
    assert quiet in served


def test_models_do_not_hold_each_other() -> None:
    """Each model has a line of its own."""
    hall = Hall()
    hall.enter(model="jammed")
    other = hall.enter(model="tiny")
    assert hall.next("tiny") is not None
    assert hall.room.waits_in(("jammed", ""))
    assert not hall.room.waits_in(("tiny", ""))
    assert hall.room.leave(other) is None


def test_full_room_refuses_and_says_when_to_come_back() -> None:
    """Beyond its capacity nobody is taken; Retry-After is the time those inside need at the pace of late."""
    hall = Hall(capacity=20)
    for _ in range(20):
        hall.enter()
    with pytest.raises(QueueFull) as first:
        hall.enter()
    assert (first.value.status, first.value.retry_after) == (429, 30)
    for second in range(10):
        hall.next(now=float(second))
        hall.enter(now=float(second))
    with pytest.raises(QueueFull) as later:
        hall.enter(now=9.5)
    assert later.value.retry_after == 20  # one a second


def test_announced_request_counts_and_is_dropped_when_it_never_enters() -> None:
    """A place is kept for the edge's second question, for so long and no longer."""
    hall = Hall(capacity=1)
    hall.room.announce(ask("a"), "batch", 0.0)
    with pytest.raises(QueueFull):
        hall.room.announce(ask("b"), "batch", 1.0)
    assert hall.room.expire(ENTER_SECONDS - 0.1) == []
    [dropped] = hall.room.expire(ENTER_SECONDS)
    assert (dropped.ask.id, dropped.reply) == ("a", None)
    assert hall.room.enter("a", unheard, 3.0) is None
    assert (len(hall.room), hall.room.never_entered) == (0, 1)


def test_overdue_are_returned_and_gone() -> None:
    """Nobody waits longer than the limit."""
    hall = Hall(seconds=5.0)
    early, late = hall.enter(now=0.0), hall.enter(now=3.0)
    assert [waiting.ask.id for waiting in hall.room.expire(5.0)] == [early]
    assert [waiting.ask.id for waiting in hall.order()] == [late]


def test_client_that_leaves_is_forgotten_wherever_it_stands() -> None:
    """Announced, first, last or in the middle."""
    hall = Hall()
    names = [hall.enter() for _ in range(5)]
    hall.room.announce(ask("announced"), "batch", 0.0)
    for name in (names[0], names[2], names[4], "announced"):
        assert hall.room.leave(name) is not None
        assert hall.room.leave(name) is None
    assert [waiting.ask.id for waiting in hall.order()] == [names[1], names[3]]
    assert hall.room.abandoned == 4


def test_debt_outlives_a_tenants_absence_while_others_wait() -> None:
    """Sending one huge request at a time buys no more than sending them all at once."""
    hall = Hall()
    for _ in range(200):
        hall.enter("steady", tokens=1000)
    hall.enter("huge", tokens=60_000)
    served: Counter[str] = Counter()
    while served["steady"] < 150:
        waiting = hall.next()
        assert waiting is not None
        served[waiting.ask.tenant] += 1
        if waiting.ask.tenant == "huge":
            hall.enter("huge", tokens=60_000)
    assert served["huge"] * 60_000 <= served["steady"] * 1000 + 2 * (QUANTUM + 60_000)


def test_unknown_class_is_the_first() -> None:
    """Names nobody configured stand for the class of requests that name none."""
    room = Hall().room
    assert room.known_class("nonsense", "").name == "batch"
    assert room.known_class("nonsense", "urgent").name == "urgent"


def test_classes_that_are_reconfigured_away_still_drain() -> None:
    """A reload forgets nobody."""
    hall = Hall()
    hall.enter(wanted="urgent")
    hall.room.configure(RoomSettings(10, 30.0, CLASSES[:1]))
    assert len(hall.order()) == 1
    assert hall.room.depths() == {"batch": 0}


sizes = st.integers(1, 60_000)


@given(st.lists(sizes, min_size=40, max_size=40), st.lists(sizes, min_size=40, max_size=40), st.integers(1, 60))
def test_tenants_that_always_wait_get_the_same_tokens(one: list[int], other: list[int], most: int) -> None:
    """While both wait, neither is ahead by more than two turns and two of the largest requests."""
    hall = Hall()
    for mine, theirs in zip(one, other, strict=True):
        hall.enter("one", tokens=mine)
        hall.enter("other", tokens=theirs)
    had: Counter[str] = Counter()
    left = Counter(one=40, other=40)
    for waiting in hall.order(most):
        if not all(left.values()):
            break
        had[waiting.ask.tenant] += max(256, waiting.ask.prompt_tokens)
        left[waiting.ask.tenant] -= 1
        assert abs(had["one"] - had["other"]) <= 2 * (QUANTUM + 60_000)


@given(st.lists(sizes, min_size=60, max_size=60), st.integers(1, 120))
def test_classes_that_always_wait_share_by_weight(tokens: list[int], most: int) -> None:
    """While both wait, tokens over weight differ by no more than one largest request each."""
    hall = Hall()
    for each in tokens:
        hall.enter(wanted="batch", tokens=each)
        hall.enter(wanted="normal", tokens=each)
    had: Counter[str] = Counter()
    left = Counter(batch=60, normal=60)
    for waiting in hall.order(most):
        name = waiting.priority_class
        had[name] += max(256, waiting.ask.prompt_tokens)
        left[name] -= 1
        if not all(left.values()):
            break
        assert abs(had["batch"] / 1 - had["normal"] / 4) <= 60_000 / 1 + 60_000 / 4


class AnyRoom(RuleBasedStateMachine):
    """Whatever comes in whatever order: counts agree, and each request leaves exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.room = WaitingRoom(RoomSettings(12, 10.0, CLASSES))
        self.now = 0.0
        self.names = 0
        self.inside: dict[str, float] = {}  # by name: its deadline
        self.entered: set[str] = set()

    @rule(tenant=st.sampled_from("abc"), model=st.sampled_from(["x", "y"]), tokens=st.integers(0, 10**7))
    def announce(self, tenant: str, model: str, tokens: int) -> None:
        self.names += 1
        name, wanted = f"r{self.names}", CLASSES[self.names % 3].name
        if len(self.inside) < 12:
            self.room.announce(ask(name, tenant, model, tokens), wanted, self.now)
            self.inside[name] = self.now + ENTER_SECONDS
            return
        with pytest.raises(QueueFull) as full:
            self.room.announce(ask(name, tenant, model, tokens), wanted, self.now)
        assert full.value.retry_after in range(1, 61)

    @precondition(lambda self: self.inside.keys() - self.entered)
    @rule(data=st.data())
    def enter(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.inside.keys() - self.entered)))
        assert self.room.enter(name, unheard, self.now) is not None
        self.inside[name] = self.now + 10.0
        self.entered.add(name)

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.inside)))
        assert self.room.leave(name) is not None
        self.gone(name)

    @rule(model=st.sampled_from(["x", "y"]), admit=st.booleans())
    def serve(self, model: str, admit: bool) -> None:
        waiting = self.room.head((model, ""))
        assert (waiting is None) == (not self.room.waits_in((model, "")))
        if waiting is None:
            return
        assert self.room.head((model, "")) is waiting
        if admit:
            self.room.admitted(waiting, waiting.ask.prompt_tokens, self.now)
        else:
            self.room.refused(waiting)
        self.gone(waiting.ask.id)

    @rule(seconds=st.floats(0.0, 4.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        overdue = {waiting.ask.id for waiting in self.room.expire(self.now)}
        assert overdue == {name for name, deadline in self.inside.items() if deadline <= self.now}
        for name in overdue:
            self.gone(name)

    def gone(self, name: str) -> None:
        del self.inside[name]
        self.entered.discard(name)

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.room) == len(self.inside)
        assert sum(self.room.depths().values()) == len(self.entered)

    def teardown(self) -> None:
        """Who still waits gets in, each once: nobody is lost in the lines."""
        for model in ("x", "y"):
            while (waiting := self.room.head((model, ""))) is not None:
                self.room.admitted(waiting, 1, self.now)
                self.gone(waiting.ask.id)
        assert not self.entered
        assert self.room.lines() == ()


TestAnyRoom = AnyRoom.TestCase
