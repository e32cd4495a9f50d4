"""Bytes both ways: nothing is held back, nothing is lost, and who leaves is noticed."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import time
from collections.abc import Callable

import pytest

from tests.support.clients import chunked, exchange, head
from tests.support.processes import wait_until
from tests.support.stack import CHAT, Stack

Start = Callable[..., Stack]


def _send(shared: Stack, body: dict[str, object]) -> socket.socket:
    text = json.dumps(body).encode()
    sock = socket.create_connection(("127.0.0.1", shared.port), timeout=10)
    sock.sendall(head(CHAT, f"content-length: {len(text)}") + text)
    return sock


def test_first_event_arrives_before_the_engine_sends_the_last(shared: Stack) -> None:
    """A stream is not buffered: each event comes when the engine sends it."""
    with _send(shared, shared.question(chunks=4, gap=0.3)) as sock:
        response = http.client.HTTPResponse(sock)
        response.begin()
        arrived = []
        while piece := response.read1():
            arrived.append((piece, time.monotonic()))
        response.close()
    assert b"".join(piece for piece, _ in arrived) == b"data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\n"
    assert len(arrived) == 4
    assert arrived[-1][1] - arrived[0][1] > 0.6


@pytest.mark.parametrize(("pad", "way"), [(0, "model-tiny"), (300_000, "router-proxy")])
@pytest.mark.parametrize("comment", [True, False])
def test_comment_that_keeps_a_client_there_ends_no_prefill(start: Start, pad: int, way: str, comment: bool) -> None:
    """The engine still computes the prompt, so the router still counts it; the first event says that it is done."""
    stack = start({"tiny": 1, "big": 1})
    wish = {"messages": [{"role": "user", "content": "x" * max(pad, 90_000)}], "chunks": 2, "hold": way}
    text = json.dumps(wish | {"comment": comment, "model": "tiny", "user": "x" * pad}).encode()
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        sock.sendall(head(CHAT, f"content-length: {len(text)}") + text)
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.read1() == (b": keep-alive\n\n" if comment else b"data: 0\n\n")
        # What comes later is heard of later.
        assert stack.chat("another").status == 200
        wait_until(lambda: _sum(stack, "ironrack_router_engine_in_flight{") == 1, "the other one is over")
        if comment:
            assert _uncached(stack) > 10_000
        wait_until(lambda: (_uncached(stack) > 0) is comment, "the router has heard of the first event")
        assert stack.get(f"/go/{way}", stack.ports["engine-tiny-0"]).status == 200
        assert response.read() == b"data: 1\n\n"
    wait_until(lambda: _under_way(stack) == 0, "the router holds nothing")


@pytest.mark.parametrize(("pad", "way"), [(0, "model-tiny"), (300_000, "router-proxy")])
def test_first_event_is_here_while_the_engine_still_holds_the_second(shared: Stack, pad: int, way: str) -> None:
    """Nine octets wait for no buffer to fill, and are not packed for a client that could unpack them."""
    wish = {"messages": [{"role": "user", "content": "x" * pad}], "chunks": 3, "hold": way, "model": "tiny"}
    text = json.dumps(wish).encode()
    with socket.create_connection(("127.0.0.1", shared.port), timeout=30) as sock:
        sock.sendall(head(CHAT, f"content-length: {len(text)}", "accept-encoding: gzip, deflate, br") + text)
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.getheader("content-encoding") is None
        assert response.read1() == b"data: 0\n\n"
        engine = response.getheader("x-served-by", "")
        assert shared.stats(engine)["held"] == 1
        assert shared.get(f"/go/{way}", shared.ports[engine]).status == 200
        assert response.read() == b"data: 1\n\ndata: 2\n\n"
    assert shared.stats(engine)["held"] == 0
    assert shared.line(response.getheader("x-request-id", ""))["backend"] == way


def test_small_events_wait_for_no_acknowledgement(shared: Stack) -> None:
    """Events smaller than a packet leave at once: 100 of them 5 ms apart take about the engine's own time."""
    began = time.monotonic()
    answer = shared.chat(chunks=100, gap=0.005)
    assert answer.body.count(b"data:") == 100
    assert time.monotonic() - began < 100 * 0.04


@pytest.mark.parametrize(
    ("wish", "begun"), [({"delay": 30}, False), ({"chunks": 100, "gap": 0.3}, True), ({"chunks": 1, "gap": 30}, False)]
)
def test_client_that_leaves_is_seen_by_the_engine(shared: Stack, wish: dict[str, object], begun: bool) -> None:
    """Before the headers, between headers and first byte, mid-stream: the engine sees the abort within a second."""
    requests, aborted = shared.total("requests"), shared.total("aborted")
    sock = _send(shared, shared.question(**wish))
    wait_until(lambda: shared.total("requests") == requests + 1, "the engine has the request")
    if begun:
        assert sock.recv(4096)
    sock.close()
    wait_until(lambda: shared.total("aborted") == aborted + 1, "the engine sees the abort", seconds=1)


@pytest.mark.parametrize("size", [1000, 100_000, 140_000, 2_000_000])
def test_body_arrives_unchanged_whatever_its_size(shared: Stack, size: int) -> None:
    """Smaller and larger than the buffer: every byte reaches the engine, and the router decided."""
    body = json.dumps(shared.question(pad="x" * size)).encode()
    answer = shared.post(body)
    assert (answer.json["bytes"], answer.json["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert answer.why not in {"fallback", "retry"}


def test_body_in_chunks_arrives_unchanged(shared: Stack) -> None:
    """A body without a length reaches router and engine whole."""
    body = json.dumps(shared.question(pad="x" * 50_000)).encode()
    pieces = [body[at : at + 700] for at in range(0, len(body), 700)]
    answer = exchange(shared.port, head(CHAT, "transfer-encoding: chunked") + chunked(*pieces))
    assert answer.json["sha256"] == hashlib.sha256(body).hexdigest()
    assert answer.why not in {"fallback", "retry"}


def test_connection_serves_request_after_request(shared: Stack) -> None:
    """A client keeps its connection over answers, refusals and streams."""
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
    bodies = [shared.question(), {"model": "tiny"}, shared.question(chunks=3), shared.question()]
    statuses, socks = [], set()
    for body in bodies:
        connection.request("POST", CHAT, json.dumps(body))
        with connection.getresponse() as response:
            statuses.append(response.status)
            response.read()
        assert connection.sock is not None
        socks.add(connection.sock.fileno())
    connection.close()
    assert (statuses, len(socks)) == ([200, 400, 200, 200], 1)


def test_models_come_from_the_router(shared: Stack) -> None:
    """GET /v1/models is the router's list, over all engines."""

    def listed() -> set[str]:
        return {model["id"] for model in shared.get("/v1/models").json.get("data", [])}

    wait_until(lambda: listed() == {"tiny", "org/big"}, "the edge has found the router's HTTP side up")


def test_each_model_has_its_engines(shared: Stack) -> None:
    """A request reaches an engine of the model it names."""
    for model, slug in (("tiny", "tiny"), ("org/big", "org-big")):
        answer = shared.post(shared.question(model=model))
        assert answer.engine.startswith(f"engine-{slug}-")
        assert shared.line(answer.headers["x-request-id"])["model"] == model


def test_answer_is_logged_with_who_served_it_and_why(shared: Stack) -> None:
    """One line has everything the router accounts by."""
    answer = shared.chat("log-me", chunks=3)
    line = shared.line(answer.headers["x-request-id"])
    assert (line["server"], line["chosen"], line["why"]) == (answer.engine, answer.engine, answer.why)
    assert (line["method"], line["path"], line["status"], line["model"]) == ("POST", CHAT, 200, "tiny")
    assert (line["source"], line["state"], line["retries"]) == ("x-session-id", "----", "0")
    numbers = ("queued_ms", "connect_ms", "headers_ms", "total_ms")
    assert all(isinstance(line[name], int) and line[name] >= 0 for name in numbers)
    assert line["bytes_in"] > 0 < line["bytes_out"]


def test_pause_longer_than_the_engines_keep_alive_costs_nothing(start: Start) -> None:
    """A pooled connection that the engine has just closed is replaced, not answered with an error."""
    stack = start(keep_alive_seconds=0.4)
    for pause in [0.39, 0.4, 0.41] * 6:
        time.sleep(pause)
        assert stack.chat("s").status == 200


def test_router_holds_nothing_once_all_is_quiet(start: Start) -> None:
    """However requests ended, nothing of them is left in the router's count of work under way."""
    stack = start({"tiny": 2})
    for wish in ({}, {"chunks": 3}, {"status": 429}, {"messages": None}, {"fail_on": [*stack.engines], "how": "503"}):
        stack.chat("s", **wish)
    sock = _send(stack, stack.question(delay=30))
    wait_until(lambda: _under_way(stack) > 0, "the router counts a request under way")
    sock.close()
    wait_until(lambda: _under_way(stack) == 0, "the router holds nothing")


def _under_way(stack: Stack) -> float:
    return _sum(stack, "ironrack_router_engine_in_flight{", "ironrack_router_engine_uncached_tokens{")


def _uncached(stack: Stack) -> float:
    return _sum(stack, "ironrack_router_engine_uncached_tokens{")


def _sum(stack: Stack, *names: str) -> float:
    port = int(stack.config["router"]["http"].rpartition(":")[2])
    lines = stack.get("/metrics", port).body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))
