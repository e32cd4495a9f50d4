"""What requests leave behind: nothing that only the garbage collector could free, because it seldom runs under load."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from router.account import Accounts, Journal
from router.admission import RoomSettings
from router.answer import Answers, Variables
from router.door import Door, DoorSettings
from router.fleet import EngineSettings, Fleet, FleetSettings, Probe
from router.joined import Recent
from router.metrics import Tally
from router.parse import ParseSettings
from router.spop import Notify, Value

REQUESTS = 300


@pytest.fixture
def uncollected() -> Iterator[Callable[[], int]]:
    """Counts the objects that nothing reaches and that are not freed."""
    gc.collect()
    gc.disable()
    yield gc.collect
    gc.enable()


class Stack:
    """One engine that takes one request at a time, and all that a router does about it."""

    def __init__(self) -> None:
        engine = EngineSettings("a", "http://127.0.0.1:1", "tiny")
        self.fleet = Fleet(FleetSettings((engine,), max_requests=1, bindings_capacity=100), 0.0)
        self.fleet.probe("a", Probe(ok=True), 0.0)
        tally, recent = Tally("a", ["x-session-id"], ["tiny"]), Recent(1000)
        self.door = Door(self.fleet, tally, recent, DoorSettings(RoomSettings(10), models={"a": "tiny"}), 0.0)
        ticks = count()
        self.answers = Answers(
            settings=ParseSettings(("tiny",), ("prompt_cache_key",)),
            backends={"tiny": "m"},
            fleet=self.fleet,
            tally=tally,
            recent=recent,
            clock=lambda: next(ticks) * 1e-5,
            door=self.door,
        )
        self.journal = Journal(tally)
        self.accounts = Accounts(self.fleet, tally, recent, self.journal, self.door)
        self.heard: list[Variables] = []

    def ask(self, lease: str, session: str = "", model: str = "tiny", **more: object) -> Variables:
        talk = [{"role": "user", "content": f"{lease} " * 200}]
        body = json.dumps({"messages": talk, "model": model, **more}).encode()
        named: dict[str, Value] = {"session": session, "source": "x-session-id"} if session else {}
        asked: dict[str, Value] = {"lease": lease, "method": "POST", "path": "/v1/chat/completions", "body": body}
        said = self.answers.answer(Notify(1, 1, {"ask": {**asked, **named}}), 1.0)
        assert said is not None
        return said

    def wait(self, lease: str) -> None:
        assert self.answers.answer(Notify(1, 1, {"admit": {"lease": lease}}), 1.0, self.heard.append) is None

    def end(self, lease: str, **how: object) -> None:
        self.answers.answer(Notify(1, 2, {"begun": {"lease": lease, "server": "a", "status": 200}}), 1.5)
        event = {"id": lease, "lease": lease, "status": 200, "server": "a", "chosen": "a", "headers_ms": 1} | how
        self.accounts.line(json.dumps(event).encode(), 2.0)
        self.journal.take()


def test_requests_that_are_served_leave_no_garbage(uncollected: Callable[[], int]) -> None:
    """Named and nameless ones, new and at home."""
    stack = Stack()
    for number in range(REQUESTS):
        stack.ask(f"lease-{number}", f"session-{number % 50}" if number % 2 else "")
        stack.end(f"lease-{number}")
    assert uncollected() < REQUESTS / 10


def test_requests_that_waited_leave_no_garbage(uncollected: Callable[[], int]) -> None:
    """Two at a time, of which the second waits for the first."""
    stack = Stack()
    for number in range(REQUESTS):
        stack.ask(f"first-{number}")
        assert stack.ask(f"second-{number}") == {"wait": 1}
        stack.wait(f"second-{number}")
        stack.end(f"first-{number}")
        stack.end(f"second-{number}")
    assert len(stack.heard) == REQUESTS
    stack.heard.clear()
    assert uncollected() < REQUESTS / 10


def test_requests_that_are_refused_leave_no_garbage(uncollected: Callable[[], int]) -> None:
    """An exception that was caught is gone."""
    stack = Stack()
    for number in range(REQUESTS):
        assert stack.ask(f"lease-{number}", model="unknown")["status"] == 404
    assert uncollected() < REQUESTS / 10


@pytest.mark.parametrize("kind", ["named", "nameless", "numbered", "aborted"])
def test_requests_of_ever_new_sessions_keep_no_memory(kind: str, uncollected: Callable[[], int]) -> None:
    """Once tables of bounded size are full, every request frees what it took; a count of blocks cannot be fooled."""
    stack, numbers = Stack(), count(1 << 60)

    def some(requests: int) -> int:
        for number in (next(numbers) for _ in range(requests)):
            named = f"session-{number}" if kind in {"named", "aborted"} else ""
            stack.ask(f"lease-{number}", named, prompt_cache_key=number * 7919 if kind == "numbered" else None)
            stack.end(f"lease-{number}", **({"state": "CD--"} if kind == "aborted" else {}))
        uncollected()
        return sys.getallocatedblocks()

    # What is remembered of names is full after 8,192 of them.
    before = some(10_000)
    assert some(2_000) - before < 200
