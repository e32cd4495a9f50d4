"""Everything a client can get wrong: status, OpenAI's error shape, who says so, and the request id."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.support.clients import Answer, call, chunked, exchange, head
from tests.support.processes import wait_until
from tests.support.stack import CHAT, Stack

JSON = {"content-type": "application/json"}


def assert_error(answer: Answer, status: int, source: str, request_id: str | None = None) -> dict[str, Any]:
    """Check an error's whole shape; return its `error` object."""
    error: dict[str, Any] = answer.json["error"]
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-error-source"] == source
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert request_id is None or answer.headers["x-request-id"] == request_id
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"].startswith(f"{source}_")
    assert error["message"]
    return error


def test_unknown_path_is_404(shared: Stack) -> None:
    """A path that is not in the list is not passed on, whatever the method."""
    for method in ("GET", "POST", "DELETE"):
        answer = call(shared.port, method, "/v1/secret", b"{}", {"x-request-id": "a-1"})
        assert assert_error(answer, 404, "edge", "a-1")["code"] == "unknown_path"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", CHAT, "POST"), ("POST", "/v1/models", "GET"), ("POST", "/health", "GET, HEAD")],
)
def test_wrong_method_is_405_and_names_the_right_ones(shared: Stack, method: str, path: str, allow: str) -> None:
    """A known path with another method says which methods it has."""
    answer = call(shared.port, method, path, b"")
    assert_error(answer, 405, "edge")
    assert answer.headers["allow"] == allow


def test_unknown_model_is_404(shared: Stack) -> None:
    """The router refuses a model that is not served, through the edge."""
    assert_error(shared.post(shared.question(model="nope"), x_request_id="m-1"), 404, "router", "m-1")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "tiny", "messages"',
        b"",
        b"[]",
        b'{"messages": []}',
        b'{"model": 7, "messages": []}',
        b'{"model": "tiny"}',
    ],
    ids=["malformed", "empty", "not an object", "no model", "model not text", "no messages"],
)
def test_unusable_body_is_400(shared: Stack, body: bytes) -> None:
    """A body that names no model or no messages, or is not JSON, is refused before an engine sees it."""
    before = shared.total("requests")
    assert_error(shared.post(body), 400, "router")
    assert shared.total("requests") == before


def test_malformed_json_in_chunks_is_400(shared: Stack) -> None:
    """A body without a length is read the same way."""
    request = head(CHAT, "transfer-encoding: chunked") + chunked(b'{"model": "ti', b'ny", "mess')
    assert_error(exchange(shared.port, request), 400, "router")


def test_declared_length_over_the_limit_is_413(shared: Stack) -> None:
    """A Content-Length over the limit is refused before the body is read."""
    request = head(CHAT, f"content-length: {shared.config['max_body_bytes'] + 1}")
    assert assert_error(exchange(shared.port, request), 413, "edge")["code"] == "request_too_large"


def test_chunked_body_that_may_not_fit_is_413(shared: Stack) -> None:
    """Nobody can limit a body of unknown length once it streams, so it must fit the buffer."""
    request = head(CHAT, "transfer-encoding: chunked") + chunked(*[b"a" * 10_000] * 7)
    assert assert_error(exchange(shared.port, request), 413, "edge")["code"] == "length_required"


@pytest.mark.parametrize("start", [b"", b'{"model"'], ids=["no body", "a part of it"])
def test_body_that_does_not_come_is_408(shared: Stack, start: bytes) -> None:
    """A client that promises a body and does not send it is told so, and holds no engine."""
    before = shared.total("requests")
    assert_error(
        exchange(shared.port, head(CHAT, "content-length: 50", "x-request-id: slow") + start), 408, "edge", "slow"
    )
    assert shared.total("requests") == before


def test_dripping_body_is_408(shared: Stack) -> None:
    """A byte now and then does not buy more time."""
    with socket.create_connection(("127.0.0.1", shared.port), timeout=0.1) as sock:
        sock.sendall(head(CHAT, "content-length: 5000"))
        answered = bytearray()

        def drip() -> bool:
            sock.send(b"a")
            try:
                answered.extend(sock.recv(4096))
            except TimeoutError:
                return False
            return True

        wait_until(drip, "an answer to a dripping body")
    assert answered.startswith(b"HTTP/1.1 408 ")


def test_large_headers_are_431(shared: Stack) -> None:
    """Headers are small in this API: a client with more is broken or hostile."""
    answer = call(shared.port, "POST", CHAT, b"{}", {"x-padding": "a" * 20_000})
    assert_error(answer, 431, "edge")


def test_request_id_of_the_client_is_kept_and_passed_on(shared: Stack) -> None:
    """A sane x-request-id goes to the engine and comes back."""
    answer = shared.post(shared.question(), x_request_id="Trace_1.a-B")
    assert answer.headers["x-request-id"] == answer.json["headers"]["x-request-id"] == "Trace_1.a-B"


@pytest.mark.parametrize(
    "given", ['a"b', "a b", "x" * 65, "é", ""], ids=["quote", "space", "long", "not ascii", "empty"]
)
def test_strange_request_id_is_replaced(shared: Stack, given: str) -> None:
    """What could break a log line or a JSON text gets an id of ours instead."""
    answer = call(shared.port, "POST", CHAT, b"{", JSON | {"x-request-id": given})
    assert assert_error(answer, 400, "router")
    assert len(answer.headers["x-request-id"]) == 36


def test_client_cannot_speak_for_us(shared: Stack) -> None:
    """Our own headers are taken from requests, and engines name neither themselves nor an error source."""
    answer = shared.post(shared.question(), x_served_by="me", x_route_reason="me", x_error_source="me")
    assert not {"x-served-by", "x-route-reason", "x-error-source"} & set(answer.json["headers"])
    assert not {"server", "x-error-source"} & set(answer.headers)
    assert answer.engine in shared.engines


def test_engine_errors_pass_unchanged(shared: Stack) -> None:
    """A 4xx or 500 of the engine is the engine's: its body and its Retry-After stay, the edge claims nothing."""
    for status in (400, 429, 500):
        answer = shared.chat(status=status)
        assert (answer.status, answer.json["engine"]) == (status, answer.engine)
        assert "x-error-source" not in answer.headers
        assert answer.headers.get("retry-after") == ("7" if status == 429 else None)


def test_expecting_client_is_told_to_continue(shared: Stack) -> None:
    """`Expect: 100-continue` is answered, the body then read."""
    body = b'{"model": "tiny", "messages": []}'
    with socket.create_connection(("127.0.0.1", shared.port), timeout=10) as sock:
        sock.sendall(head(CHAT, "expect: 100-continue", f"content-length: {len(body)}"))
        assert sock.recv(4096).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        assert sock.recv(4096).startswith(b"HTTP/1.1 ")


def test_length_and_chunks_together_cannot_smuggle(shared: Stack) -> None:
    """With both framings the chunks count, the length is dropped, and nothing is left over for a next request."""
    smuggled = head(CHAT, "content-length: 5", "transfer-encoding: chunked") + b"0\r\n\r\n" + head("/v1/secret")
    before = len(shared.lines())
    assert_error(exchange(shared.port, smuggled), 400, "router")
    wait_until(lambda: len(shared.lines()) > before, "the access line")
    known = {"edge", "refused", "probes", "model-tiny", "model-org-big", "router-http", "router-proxy"}
    assert all(line["backend"] in known for line in shared.lines())


def test_probe_paths_answer_without_an_engine(shared: Stack) -> None:
    """/health and /ready are the edge's own and stay out of the log."""
    before = len(shared.lines())
    assert shared.get("/health").status == shared.get("/ready").status == 200
    assert call(shared.port, "HEAD", "/health").body == b""
    shared.line(shared.chat().headers["x-request-id"])
    assert not [line for line in shared.lines()[before:] if line["path"] in {"/health", "/ready"}]


def test_refusals_are_logged_as_one_json_line(shared: Stack) -> None:
    """A path with quotes cannot break the line."""
    answer = exchange(shared.port, head('/a"b\\c', "content-length: 0"))
    line = shared.line(answer.headers["x-request-id"])
    assert (line["path"], line["status"], line["server"]) == ('/a"b\\c', 404, "<NOSRV>")


def test_metrics_are_served_on_their_own_port_alone(shared: Stack) -> None:
    """Prometheus reads HAProxy's numbers; clients do not."""
    port = shared.config["metrics"]["port"]
    assert b"haproxy_server_status" in shared.get("/metrics", port).body
    assert shared.get("/metrics").status == shared.get("/", port).status == 404


def test_what_is_not_http_is_refused(shared: Stack) -> None:
    """HAProxy's parser answers before any rule runs, so this one answer has no request id."""
    assert exchange(shared.port, b"NOT HTTP\r\n\r\n").status == 400
