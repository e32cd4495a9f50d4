"""The memory benchmark's arithmetic and its octets."""

from collections import Counter

import msgspec
import pytest

from router.account import Event
from router.spop_wire import read_messages, read_varint, write_ack
from tests.bench.memory.feed import Asked, engine_of, line, notify, question
from tests.bench.memory.tables import Sample, after_warm_up, furthest, report

MEGABYTE = 1_000_000


def test_flatness_ignores_the_warm_up_and_finds_growth() -> None:
    """Flat after a third is flat; what goes on growing is not."""
    flat = [Sample(number, min(number, 3) * MEGABYTE * 10) for number in range(11)]
    assert furthest(after_warm_up(flat)) == 0
    leak = [Sample(number, (100 + 10 * number) * MEGABYTE) for number in range(11)]
    assert furthest(after_warm_up(leak)) > 0.1
    said = report(leak, Counter(served=10), 1, {}, []).markdown()
    assert said.count("**not reached**") == 2


def test_question_is_one_that_the_router_reads() -> None:
    """The frame's payload is a message `ask` with every argument."""
    one = Asked(7, "bench")
    frame = notify(one.number, "ask", question(one))
    _, at = read_varint(frame, 9)
    _, at = read_varint(frame, at)
    arguments = read_messages(frame, at, len(frame))["ask"]
    assert arguments["id"] == arguments["lease"] == one.name
    assert arguments["size"] == len(bytes(arguments["body"]))  # type: ignore[arg-type]  # octets, of all the types it may have
    assert bool(arguments["session"]) != one.silent


def test_engine_is_read_from_an_answer() -> None:
    """The variable `server`; none in a refusal."""
    assert engine_of(write_ack(1, 1, {"backend": "b", "server": "engine-3", "why": "new"})) == "engine-3"
    assert engine_of(write_ack(1, 1, {"status": 503})) == ""


@pytest.mark.parametrize(("server", "retries"), [("engine-1", 0), ("engine-2", 1)])
def test_line_is_one_that_the_router_reads(server: str, retries: int) -> None:
    """As HAProxy writes it: a retry on another server counts with its sign."""
    event = msgspec.json.decode(line(Asked(3, "bench"), "engine-1", server, 200, "----"), type=Event)
    assert (event.server, event.chosen, int(event.retries)) == (server, "engine-1", retries)
