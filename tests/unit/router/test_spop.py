"""The SPOP agent: what HAProxy sends is understood whole, what is not SPOP ends in a DISCONNECT."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.spop import Agent, Limits, Notify, Status, Value
from router.spop_wire import (
    ABORT,
    ACK,
    AGENT_DISCONNECT,
    AGENT_HELLO,
    FIN,
    HAPROXY_DISCONNECT,
    HAPROXY_HELLO,
    NOTIFY,
    UNSET,
    SpopError,
    read_settings,
    read_value,
    read_varint,
    write_frame,
    write_settings,
    write_text,
    write_uint32,
    write_value,
    write_varint,
)

numbers = st.integers(min_value=0, max_value=2**64 - 1)
values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8")), st.binary()
)
names = st.text("abcdefgh_", min_size=1, max_size=12)
messages = st.dictionaries(names, st.dictionaries(names, values, max_size=6), max_size=3)


def hello(**changes: bytes | None) -> bytes:
    settings: dict[str, bytes | None] = {
        "supported-versions": write_value("2.0"),
        "max-frame-size": write_uint32(16_380),
        "capabilities": write_value("pipelining,async"),
    }
    settings |= {name.replace("_", "-"): value for name, value in changes.items()}
    return write_settings(HAPROXY_HELLO, {name: value for name, value in settings.items() if value is not None})


def payload_of(asked: Mapping[str, Mapping[str, Value]]) -> bytes:
    return b"".join(
        write_text(name)
        + bytes((len(arguments),))
        + b"".join(write_text(key) + write_value(value) for key, value in arguments.items())
        for name, arguments in asked.items()
    )


def frames(octets: bytes) -> list[tuple[int, int, int, bytes]]:
    """Split what an agent wrote: kind, stream, frame, payload."""
    found = []
    while octets:
        size = int.from_bytes(octets[:4], "big")
        frame, octets = octets[4 : 4 + size], octets[4 + size :]
        stream, at = read_varint(frame, 5)
        number, at = read_varint(frame, at)
        found.append((frame[0], stream, number, frame[at:]))
    return found


def disconnect_of(agent: Agent) -> Value:
    """Return the status code of the DISCONNECT an agent wrote last."""
    kind, stream, number, payload = frames(agent.pending())[-1]
    assert (kind, stream, number) == (AGENT_DISCONNECT, 0, 0)
    return read_settings(payload, 0, len(payload))["status-code"]


def greeted(limits: Limits | None = None, **changes: bytes | None) -> Agent:
    agent = Agent(limits or Limits())
    assert agent.receive(hello(**changes)) == []
    agent.pending()
    return agent


def fragmented(asked: Mapping[str, Mapping[str, Value]], pieces: int, stream: int = 7) -> list[bytes]:
    payload = payload_of(asked)
    step = max(1, -(-len(payload) // pieces))
    parts = [payload[at : at + step] for at in range(0, len(payload), step)]
    kinds = [NOTIFY] + [UNSET] * (len(parts) - 1)
    flags = [0] * (len(parts) - 1) + [FIN]
    return [write_frame(kind, stream, 1, part, flag) for kind, part, flag in zip(kinds, parts, flags, strict=True)]


def parts(question: Notify) -> tuple[int, int, dict[str, dict[str, Value]]]:
    return question.stream, question.frame, question.messages


# ------------------------------------------------------------------------------------------------------ octets


@given(numbers)
def test_varint_is_read_as_it_was_written(number: int) -> None:
    """Every unsigned 64-bit number survives the protocol's variable-length form."""
    octets = write_varint(number)
    assert read_varint(octets, 0) == (number, len(octets))


@pytest.mark.parametrize(
    ("number", "octets"), [(239, "ef"), (240, "f000"), (2287, "ff7f"), (2288, "f08000"), (264431, "ffff7f")]
)
def test_varint_matches_the_boundaries_of_the_specification(number: int, octets: str) -> None:
    """The edges of the specification's table are encoded as it says."""
    assert write_varint(number).hex() == octets


@given(values)
def test_value_is_read_as_it_was_written(value: Value) -> None:
    """Every kind of value that travels survives encoding."""
    octets = write_value(value)
    assert read_value(octets, 0) == (value, len(octets))


def test_value_read_accepts_every_type_of_the_protocol() -> None:
    """Addresses come as their octets, unsigned and small integers as numbers."""
    assert read_value(b"\x06\x7f\x00\x00\x01", 0) == (b"\x7f\x00\x00\x01", 5)
    assert read_value(b"\x07" + bytes(16), 0) == (bytes(16), 17)
    assert read_value(b"\x03\x05", 0) == (5, 2)
    with pytest.raises(SpopError):
        read_value(b"\x0c", 0)


def test_string_octets_that_are_not_utf8_survive_reading() -> None:
    """A header with odd octets gives the same octets back, so that a hash over them is HAProxy's."""
    text, _ = read_value(b"\x08\x02\xff\x41", 0)
    assert isinstance(text, str)
    assert text.encode("utf-8", "surrogateescape") == b"\xff\x41"


# ------------------------------------------------------------------------------------------------------ handshake


def test_hello_is_answered_with_the_smaller_frame_and_shared_capabilities() -> None:
    """HELLO agrees on version 2.0, the smaller frame size, and pipelining only where the peer has it."""
    agent = Agent(Limits(frame=4096))
    agent.receive(hello())
    [(kind, stream, number, payload)] = frames(agent.pending())
    assert (kind, stream, number) == (AGENT_HELLO, 0, 0)
    assert read_settings(payload, 0, len(payload)) == {
        "version": "2.0",
        "max-frame-size": 4096,
        "capabilities": "fragmentation,pipelining",
    }
    plain = Agent(Limits())
    plain.receive(hello(capabilities=write_value("")))
    assert b"pipelining" not in plain.pending()
    assert not agent.closing


def test_hello_of_a_health_check_is_answered_and_closed() -> None:
    """A health check gets its HELLO and the connection ends without a DISCONNECT."""
    agent = Agent(Limits())
    agent.receive(hello(healthcheck=write_value(True)))
    assert [kind for kind, *_ in frames(agent.pending())] == [AGENT_HELLO]
    assert agent.closing


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (hello(supported_versions=None), Status.NO_VERSION),
        (hello(max_frame_size=None), Status.NO_FRAME_SIZE),
        (hello(capabilities=None), Status.NO_CAPABILITIES),
        (hello(supported_versions=write_value("1.0, 3.0")), Status.BAD_VERSION),
        (hello(max_frame_size=write_uint32(255)), Status.BAD_FRAME_SIZE),
        (write_frame(NOTIFY, 1, 1, b""), Status.INVALID),
        (write_frame(HAPROXY_HELLO, 0, 0, b"", flags=0), Status.INVALID),
        (b"\x00\x00\x00\x03abc", Status.INVALID),
        (b"\x7f\xff\xff\xff", Status.TOO_BIG),
        (b"GET / HTTP/1.1\r\n\r\n", Status.TOO_BIG),
    ],
)
def test_hello_that_breaks_a_rule_is_refused_with_its_status(octets: bytes, status: Status) -> None:
    """What is wrong with a HELLO is told in the protocol's own number, then the connection ends."""
    agent = Agent(Limits())
    assert agent.receive(octets) == []
    assert disconnect_of(agent) == status
    assert agent.closing


# ------------------------------------------------------------------------------------------------------ questions


@given(messages, numbers, numbers)
def test_notify_is_read_whole_and_acknowledged_under_its_ids(
    asked: dict[str, dict[str, Value]], stream: int, frame: int
) -> None:
    """A question comes out as it was asked; its answer carries the same stream and frame."""
    agent = greeted()
    [question] = agent.receive(write_frame(NOTIFY, stream, frame, payload_of(asked)))
    assert parts(question) == (stream, frame, asked)
    agent.acknowledge(question, {"server": "engine-a", "status": 503})
    [(kind, *ids, payload)] = frames(agent.pending())
    assert (kind, ids) == (ACK, [stream, frame])
    assert payload == b"\x01\x03\x02\x06server\x08\x08engine-a\x01\x03\x02\x06status" + write_value(503)


def test_pipelined_questions_come_out_in_order() -> None:
    """Several questions in one read are all asked, in the order they came."""
    agent = greeted()
    octets = b"".join(write_frame(NOTIFY, number, 1, payload_of({"ask": {"n": number}})) for number in range(5))
    assert [question.stream for question in agent.receive(octets)] == [0, 1, 2, 3, 4]


@given(st.binary(max_size=4000), st.integers(1, 12))
def test_fragments_make_the_question_they_were_cut_from(body: bytes, pieces: int) -> None:
    """A question split over frames is the same question."""
    agent = greeted()
    asked: dict[str, dict[str, Value]] = {"ask": {"id": "x", "body": body}}
    heard = [question for octets in fragmented(asked, pieces) for question in agent.receive(octets)]
    assert [parts(question) for question in heard] == [(7, 1, asked)]


@given(st.lists(st.integers(1, 200), max_size=40))
def test_chunked_feeding_equals_feeding_whole(cuts: list[int]) -> None:
    """Where the network cuts the octets changes neither questions nor answers."""
    asked: dict[str, dict[str, Value]] = {"ask": {"body": bytes(range(256)), "id": "a"}}
    octets = hello() + b"".join(fragmented(asked, 3)) + write_frame(NOTIFY, 9, 2, payload_of(asked))
    whole, chunked = Agent(Limits()), Agent(Limits())
    expected = whole.receive(octets)
    heard: list[Notify] = []
    for cut in cuts:
        heard += chunked.receive(octets[:cut])
        octets = octets[cut:]
    heard += chunked.receive(octets)
    assert [parts(question) for question in heard] == [parts(question) for question in expected]
    assert chunked.pending() == whole.pending()


def test_aborted_fragments_leave_no_question_and_the_connection_open() -> None:
    """HAProxy drops a request half-way through its fragments: nothing is asked, the next question is."""
    agent = greeted()
    first = fragmented({"ask": {"body": b"x" * 100}}, 3)[0]
    assert agent.receive(first + write_frame(UNSET, 7, 1, b"", FIN | ABORT)) == []
    assert len(agent.receive(write_frame(NOTIFY, 8, 1, payload_of({"ask": {}})))) == 1


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (write_frame(UNSET, 7, 1, b"x"), Status.INVALID),
        (fragmented({"ask": {"b": b"xx"}}, 2)[0] + write_frame(NOTIFY, 8, 1, b""), Status.INTERLACED),
        (fragmented({"ask": {"b": b"xx"}}, 2)[0] + write_frame(UNSET, 8, 1, b"x"), Status.INTERLACED),
        (hello(), Status.INVALID),
        (write_frame(NOTIFY, 1, 1, b"\x03ask\x01"), Status.INVALID),
        (write_frame(NOTIFY, 1, 1, b"\x03ask\x01\x01b\x09\x20short"), Status.INVALID),
        (write_frame(NOTIFY, 1, 1, b"\x03ask\x01\x01b\x06\x01"), Status.INVALID),
        (write_frame(NOTIFY, 1, 1, b"\x03ask\x01\x01b\x0f"), Status.INVALID),
        (write_frame(NOTIFY, 1, 1, b"\xff" * 40), Status.INVALID),
        (b"\x00\x00\x00\x08\x03\x00\x00\x00\x01\xf0\xff\xff" + bytes(40), Status.INVALID),
        ((16_381).to_bytes(4, "big"), Status.TOO_BIG),
        (write_frame(HAPROXY_DISCONNECT, 0, 0, b""), Status.NORMAL),
    ],
)
def test_frame_that_breaks_a_rule_ends_the_connection_with_its_status(octets: bytes, status: Status) -> None:
    """After the handshake too, every broken rule has its number; a goodbye is answered with status 0."""
    agent = greeted()
    assert agent.receive(octets) == []
    assert disconnect_of(agent) == status
    assert (agent.closing, agent.status) == (True, status)
    assert agent.receive(write_frame(NOTIFY, 1, 1, b"")) == []


def test_value_that_runs_into_the_next_frame_ends_the_connection() -> None:
    """A frame never borrows octets from the one behind it."""
    agent = greeted()
    short = write_frame(NOTIFY, 1, 1, b"\x03ask\x01\x01b\x09\x10")
    assert agent.receive(short + write_frame(NOTIFY, 2, 1, payload_of({"ask": {"b": b"y" * 40}}))) == []
    assert disconnect_of(agent) == Status.INVALID


def test_frame_of_an_unknown_type_is_skipped() -> None:
    """A kind of frame that does not exist yet disturbs nobody."""
    agent = greeted()
    assert len(agent.receive(write_frame(55, 0, 0, b"?") + write_frame(NOTIFY, 1, 1, b""))) == 1


def test_fragments_beyond_the_limit_end_the_connection() -> None:
    """What is put together from fragments has an upper bound in memory."""
    agent = greeted(Limits(frame=1024, payload=2000), max_frame_size=write_uint32(1024))
    for kind in (NOTIFY, UNSET, UNSET):
        agent.receive(write_frame(kind, 1, 1, b"x" * 900, flags=0))
    assert disconnect_of(agent) == Status.TOO_BIG


def test_answer_larger_than_a_frame_is_sent_empty() -> None:
    """HAProxy never gets a frame it refuses: it gets no variables and falls back by itself."""
    agent = greeted(max_frame_size=write_uint32(256))
    [question] = agent.receive(write_frame(NOTIFY, 1, 1, payload_of({"ask": {}})))
    agent.acknowledge(question, {"body": "x" * 300})
    [(kind, *_, payload)] = frames(agent.pending())
    assert (kind, payload) == (ACK, b"")


def test_answer_with_text_that_utf8_cannot_say_is_still_sent() -> None:
    """A lone surrogate in an answer becomes a question mark, not an exception."""
    agent = greeted()
    [question] = agent.receive(write_frame(NOTIFY, 1, 1, b""))
    agent.acknowledge(question, {"model": "\ud800"})
    assert agent.pending().endswith(b"\x08\x01?")


@given(st.binary(max_size=600), st.booleans())
def test_arbitrary_octets_never_raise(octets: bytes, after_hello: bool) -> None:
    """Whatever arrives, before or after the handshake, no exception leaves the connection."""
    agent = greeted() if after_hello else Agent(Limits())
    for question in agent.receive(octets):
        agent.acknowledge(question, {})
    agent.pending()


@given(st.binary(max_size=200), st.integers(0, 255))
def test_arbitrary_payloads_never_raise(payload: bytes, kind: int) -> None:
    """A well-formed frame around any payload gives questions or a DISCONNECT, never an exception."""
    agent = greeted()
    questions = agent.receive(write_frame(kind, 1, 1, payload))
    assert questions == [] or not agent.closing


def test_finish_says_goodbye_once() -> None:
    """A router that stops tells its peers, and nothing is sent after a DISCONNECT."""
    agent = greeted()
    [question] = agent.receive(write_frame(NOTIFY, 1, 1, b""))
    agent.finish()
    agent.finish()
    agent.acknowledge(question, {})
    assert [kind for kind, *_ in frames(agent.pending())] == [AGENT_DISCONNECT]
