"""What a hostile or careless client sends costs nobody else anything."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.edge.conftest import Start
from tests.support.clients import call, exchange, head
from tests.support.processes import wait_until
from tests.support.stack import CHAT, Stack


def in_flight(stack: Stack) -> int:
    """Requests that the router believes to be at its engines."""
    port = int(stack.config["router"]["http"].rpartition(":")[2])
    engines = json.loads(stack.get("/admin/engines", port).body)["engines"]
    return sum(int(engine["in_flight"]) for engine in engines)


@pytest.mark.parametrize("length", [2**31, 2**32, 2**32 + 100, 2**63 - 1], ids=str)
def test_length_beyond_32_bits_is_413(shared: Stack, length: int) -> None:
    """A length that a smaller number cannot hold is over the limit all the same, and no engine is held for it."""
    answer = exchange(shared.port, head(CHAT, f"content-length: {length}") + b"{")
    assert (answer.status, answer.headers["x-error-source"]) == (413, "edge")
    wait_until(lambda: in_flight(shared) == 0, "no engine is held")


def test_requests_that_share_an_id_are_counted_each(shared: Stack) -> None:
    """A client that names all its requests alike does not look like one request."""
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(shared.post, shared.question(delay=1.0), x_request_id="same") for _ in range(3)]
        wait_until(lambda: in_flight(shared) == 3, "three requests are in flight")
        assert [one.result().status for one in asked] == [200] * 3
    wait_until(lambda: in_flight(shared) == 0, "none is in flight")


def test_empty_session_header_names_no_session(start: Start) -> None:
    """The next header that says something does, with the router and without it."""
    stack = start(session_headers=["x-session-id", "x-other"])
    for number, why in enumerate(("home", "fallback")):
        for name, value in (("named", "s"), ("unnamed", "")):
            sent = {"x_session_id": "", "x_other": value, "x_request_id": f"{name}-{number}"}
            assert stack.post(stack.question(), **sent).status == 200
        assert stack.line(f"named-{number}")["source"] == "x-other"
        assert stack.line(f"unnamed-{number}")["source"] not in {"x-session-id", "x-other"}
        assert stack.line(f"unnamed-{number}")["why"] == why
        stack.router.stop()


def test_overlong_names_leave_the_access_log_readable(shared: Stack) -> None:
    """Path and method are cut before a line is; every line stays one JSON object."""
    call(shared.port, "POST", "/" + '"' * 9000, b"", {"x-request-id": "long-path"})
    assert len(shared.line("long-path")["path"]) <= 512
    call(shared.port, "X" * 9000, CHAT, b"", {"x-request-id": "long-method"})
    assert len(shared.line("long-method")["method"]) <= 32
