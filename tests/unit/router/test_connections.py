"""The edge's connections: whose lines are whose, and answers that come later than their question."""

import asyncio
import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.answer import Answers, Variables
from router.connections import SpopConnection, mine
from router.spop import Limits, Notify
from router.spop_wire import (
    ACK,
    HAPROXY_HELLO,
    NOTIFY,
    write_frame,
    write_settings,
    write_text,
    write_uint32,
    write_value,
)
from router.tally import Tally

HELLO = write_settings(
    HAPROXY_HELLO,
    {
        "supported-versions": write_value("2.0"),
        "max-frame-size": write_uint32(65_532),
        "capabilities": write_value("pipelining"),
    },
)
texts = st.text(max_size=30)


@given(st.integers(-1, 63), st.integers(0, 63), texts, texts)
def test_line_belongs_to_whoever_decided_it(decider: int, index: int, before: str, after: str) -> None:
    """Found in the octets, whatever stands in the other fields; what nobody decided is number 0's."""
    line = json.dumps({"client": before, "decider": decider, "path": after}, separators=(",", ":")).encode()
    assert mine(index)(line) is (max(decider, 0) == index)
    last = json.dumps({"client": before, "decider": decider}, separators=(",", ":")).encode()
    assert mine(index)(last) is (max(decider, 0) == index)


@given(st.integers(-1, 63), st.integers(0, 63), st.integers(0, 63), texts)
def test_line_of_its_own_session_reaches_a_router_whoever_decided(
    decider: int, slot: int, index: int, before: str
) -> None:
    """A router that was away learns from it where its sessions were served."""
    line = json.dumps({"client": before, "decider": decider, "slot": slot, "path": "/"}, separators=(",", ":")).encode()
    assert mine(index)(line) is (index in {max(decider, 0), slot})


@given(texts)
def test_client_cannot_choose_whose_line_it_is(said: str) -> None:
    """A quote inside a text is escaped, so no text can look like the key."""
    text = f'x","decider":5,{said}"decider":5,'
    line = json.dumps({"path": text, "decider": 2}, separators=(",", ":")).encode()
    assert mine(2)(line)
    assert not mine(5)(line)


@pytest.mark.parametrize("line", [b"", b"garbage", b'{"id":"x"}', b'{"decider":-1,"id":"x"}'])
def test_line_of_nobody_is_read_once(line: bytes) -> None:
    """Among several routers exactly one takes it."""
    assert [mine(index)(line) for index in range(4)] == [True, False, False, False]


class Later:
    """Answers that come when the test says so."""

    def __init__(self) -> None:
        self.waiting: dict[int, Any] = {}

    def answer(self, question: Notify, now: float, reply: Any) -> Variables | None:
        if "ask" in question.messages:
            return {"server": "now"}
        self.waiting[question.stream] = reply
        return None


class Wire(asyncio.Transport):
    """What was written, and whether the connection was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"closed")


def question(stream: int, message: str) -> bytes:
    return write_frame(NOTIFY, stream, 1, write_text(message) + b"\0")


def connected() -> tuple[SpopConnection, Later, Wire]:
    later, wire = Later(), Wire()
    # Of all that answers, a connection knows the one method.
    connection = SpopConnection(cast("Answers", later), Limits(), Tally((), ()), set())
    connection.connection_made(wire)
    connection.data_received(HELLO)
    wire.written.clear()
    return connection, later, wire


def test_answer_that_waits_holds_up_no_other() -> None:
    """A question behind one that waits is answered at once; the first gets its own answer later."""
    connection, later, wire = connected()
    connection.data_received(question(1, "admit") + question(2, "ask"))
    [octets] = wire.written
    assert (octets[4], octets[9]) == (ACK, 2)
    wire.written.clear()
    later.waiting[1]({"server": "later"})
    [octets] = wire.written
    assert (octets[4], octets[9]) == (ACK, 1)
    assert b"later" in octets


def test_answer_to_a_connection_that_is_gone_is_dropped() -> None:
    """The client left, or the edge went away: nothing is written and nothing raised."""
    connection, later, wire = connected()
    connection.data_received(question(1, "admit"))
    connection.connection_lost(None)
    later.waiting[1]({"server": "later"})
    assert not wire.written


def test_answer_after_the_goodbye_is_dropped() -> None:
    """A router that stops has said goodbye already."""
    connection, later, wire = connected()
    connection.data_received(question(1, "admit"))
    connection.finish()
    wire.written.clear()
    later.waiting[1]({"server": "later"})
    assert not any(b"later" in octets for octets in wire.written)
