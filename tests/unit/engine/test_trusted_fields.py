"""What the edge says counts, whatever a client wrote; and an answer's tokens are told beside it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.loading import module_at
from tests.support.processes import ROOT

Message = MutableMapping[str, Any]
PRIORITY = (b"x-ironrack-priority", b"7")
SALT = (b"x-ironrack-cache-salt", b"acme")


FILES = ROOT / "roles" / "engine" / "files"
MODULE = module_at(FILES / "trusted_fields.py")


class Seen:
    """What the application behind the middleware got, and what the server in front of it."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.received: list[Message] = []
        self.sent: list[Message] = []

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.received)

    def header(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)


async def _through(
    pieces: list[Message],
    *headers: tuple[bytes, bytes],
    answer: tuple[Message, ...] = (),
    scope: dict[str, Any] | None = None,
) -> Seen:
    seen, waiting = Seen(), pieces[::-1]

    async def app(inner: Any, receive: Any, send: Any) -> None:
        seen.headers = list(inner.get("headers", ()))
        for _ in pieces:
            seen.received.append(await receive())
            if not seen.received[-1].get("more_body"):
                break
        for message in answer:
            await send(message)

    async def receive() -> Message:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        seen.sent.append(message)

    default = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": list(headers)}
    await MODULE.TrustedFields(app)(default | (scope or {}), receive, send)
    return seen


def _pieces(*bodies: bytes) -> list[Message]:
    last = len(bodies) - 1
    return [{"type": "http.request", "body": body, "more_body": at < last} for at, body in enumerate(bodies)]


async def _written(body: bytes, *headers: tuple[bytes, bytes]) -> Any:
    return json.loads((await _through(_pieces(body), *headers)).body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"content":"{}"}]}',
        b'{"model":"m","priority":-100,"cache_salt":"stolen"}',
        b'{"model":"m","\\u0070riority":-100,"cache_sal\\u0074":"stolen"}',
        b' {"model":"m"} \r\n',
        b"{}",
        b"{ }",
        '{"model":"m","priority":-100}'.encode("utf-16"),
        '{"model":"m","priority":-100}'.encode("utf-16-be"),
        '{"model":"m","priority":-100}'.encode("utf-32-le"),
        '{"model":"ü"}'.encode("utf-8-sig"),
    ],
)
async def test_fields_of_the_edge_replace_the_clients(body: bytes) -> None:
    """However the client spelt them, in whatever encoding Python's JSON reads; everything else stays."""
    found = await _written(body, PRIORITY, SALT)
    assert found == json.loads(body) | {"priority": 7, "cache_salt": "acme"}


async def test_model_that_was_allowed_is_the_one_that_serves() -> None:
    """A second name, further on than anybody looked, is not what the engine reads."""
    body = b'{"model":"tiny","messages":[],"model":"sql"}'
    assert json.loads(body)["model"] == "sql"
    assert (await _written(body, (b"x-ironrack-model", b"tiny")))["model"] == "tiny"


async def test_length_is_right_again_and_vllms_own_header_is_gone() -> None:
    """The application sees the body's length; a client cannot set its priority by a header either."""
    sent = [(b"content-length", b"13"), (b"x-vllm-priority", b"-9"), (b"x-other", b"1"), PRIORITY]
    seen = await _through(_pieces(b'{"model"', b':"m"}'), *sent)
    assert json.loads(seen.body) == {"model": "m", "priority": 7}
    assert seen.header(b"content-length") == str(len(seen.body)).encode()
    assert (seen.header(b"x-vllm-priority"), seen.header(b"x-other")) == (None, b"1")


async def test_body_in_chunks_gets_no_length() -> None:
    """Both framings at once would be neither."""
    seen = await _through(_pieces(b"{}"), (b"transfer-encoding", b"chunked"), PRIORITY)
    assert seen.header(b"content-length") is None


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b'"}', b"}", b"\xff}", b'{"a":1', b"[" * 50_000, b'{"a":"}', b'{"a":"x}']
)
async def test_what_is_no_object_stays_none(body: bytes) -> None:
    """Nothing here turns a bad request into a good one, and nothing raises: the engine says what is wrong."""
    found: Any = None
    with contextlib.suppress(ValueError, RecursionError):  # no JSON is no object either
        found = json.loads((await _through(_pieces(body), PRIORITY, SALT)).body)
    assert not isinstance(found, dict)


@pytest.mark.parametrize("value", [b"high", b"", b"--1", b"1" * 30, b"\xb2"])
async def test_priority_that_is_no_number_is_not_taken_over(value: bytes) -> None:
    """A mistake at the edge must not break requests."""
    assert await _written(b'{"model":"m"}', (b"x-ironrack-priority", value)) == {"model": "m"}


async def test_negative_priority_is_a_priority() -> None:
    """vLLM takes lower numbers first."""
    assert (await _written(b"{}", (b"x-ironrack-priority", b"-5")))["priority"] == -5


@pytest.mark.parametrize(
    ("headers", "scope"),
    [
        ((), {}),
        ((PRIORITY,), {"method": "GET"}),
        ((PRIORITY,), {"type": "websocket"}),
        ((PRIORITY, (b"content-type", b"multipart/form-data; boundary=x")), {}),
    ],
)
async def test_everything_else_passes_untouched(headers: tuple[Any, ...], scope: dict[str, Any]) -> None:
    """No header of the edge, no POST, no HTTP, no JSON: the very same messages."""
    pieces = _pieces(b'{"priority":', b"1}")
    seen = await _through(pieces, *headers, scope=scope)
    assert [id(message) for message in seen.received] == [id(message) for message in pieces]


async def test_client_that_leaves_early_is_heard_of() -> None:
    """Half a body is passed on as such, with the message that no more will come."""
    gone: Message = {"type": "http.disconnect"}
    seen = await _through([{"type": "http.request", "body": b"{", "more_body": True}, gone], PRIORITY)
    assert (seen.received[0]["body"], seen.received[1]) == (b"{", gone)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=12), _JSON, max_size=4), st.booleans(), st.sampled_from(["", " ", "\r\n\t"]))
@example({"priority": 1, "cache_salt": "x"}, True, "")
def test_any_object_keeps_its_fields(body: dict[str, Any], ascii_only: bool, space: str) -> None:
    """The result is the object with the two fields, for every object there is."""
    text = space + json.dumps(body, ensure_ascii=ascii_only) + space
    fields = {"priority": 3, "cache_salt": 's"\\'}
    assert json.loads(MODULE.with_fields(text.encode("utf-8", "surrogatepass"), fields)) == body | fields


@given(st.binary(max_size=120))
def test_no_octets_raise(octets: bytes) -> None:
    """Requests and answers may be anything."""
    MODULE.with_fields(octets, {"priority": 1})
    MODULE.usage_of(b'"usage":' + octets)


def _start(kind: bytes = b"application/json", status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]}


def _answer(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}, b"9,8,4"),
        ({"prompt_tokens": 9, "total_tokens": 9, "completion_tokens": 0, "prompt_tokens_details": None}, b"9,0,0"),
        ({"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 8}}, b"9,8,4"),
        ({"input_tokens": 1, "output_tokens": 4, "cache_read_input_tokens": 8}, b"9,8,4"),
        ({"type": "duration", "seconds": 3}, None),
        (None, None),
    ],
)
async def test_whole_answer_tells_its_tokens(usage: object, told: bytes | None) -> None:
    """OpenAI's, the Responses API's and Anthropic's words mean the same three numbers."""
    body = json.dumps({"choices": [{"text": '"usage":{"prompt_tokens":1}'}], "usage": usage}, separators=(",", ":"))
    seen = await _through([], answer=(_start(), _answer(body.encode())))
    assert dict(seen.sent[0]["headers"]).get(b"x-ironrack-usage") == told
    assert seen.sent[1]["body"] == body.encode()


@pytest.mark.parametrize(
    "answer",
    [
        (_start(b"text/event-stream"), _answer(b'data: {"usage":{"prompt_tokens":1}}')),
        (_start(status=400), _answer(b'{"usage":{"prompt_tokens":1}}')),
        (_start(), _answer(b'{"usage":{"prompt_tokens":1}', more=True), _answer(b"}")),
        (_start(), _answer(b"{}")),
    ],
)
async def test_other_answers_pass_untouched(answer: tuple[Message, ...]) -> None:
    """Streams, errors, bodies in pieces and bodies without usage: the very same messages, in their order."""
    seen = await _through([], answer=answer)
    assert [id(message) for message in seen.sent] == [id(message) for message in answer]


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.glob("*.py")))
def test_committed_projects_carry_the_same_file(name: str) -> None:
    """Whoever runs compose/ by hand runs what the role deploys."""
    copies = sorted((ROOT / "compose").glob(f"*/engine/{name}"))
    assert len(copies) == len(list((ROOT / "compose").glob("*/stack.yml")))
    assert {copy.read_text() for copy in copies} == {(FILES / name).read_text()}
