"""Uvicorn with our middleware, as vLLM runs it: an answer's head and its first byte leave in one piece.

A head alone would tie the request to an engine that may die before it says more.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Child, free_ports, wait_until
from tests.support.uvicorn_engine import WHOLE


@pytest.fixture(params=["httptools", "h11"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """Where it listens, with either of uvicorn's parsers."""
    (found,) = free_ports(1)
    path = os.pathsep.join([str(ROOT / "roles" / "engine" / "files"), str(ROOT)])
    command = ["env", f"PYTHONPATH={path}", sys.executable, "-m", "tests.support.uvicorn_engine"]
    child = Child([*command, str(found), request.param], tmp_path / "engine.log")
    child.start()
    try:
        wait_until(lambda: _asked(found, "/go") == (200, b""), "the engine listens")
        yield found
    finally:
        child.stop()


def test_engine_killed_between_head_and_body_has_said_nothing(port: int) -> None:
    """So the edge may give the request to another one."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /dies HTTP/1.1\r\nhost: engine\r\n\r\n")
        assert _until_closed(client) == b""


def test_one_connection_carries_answers_of_every_kind(port: int) -> None:
    """With and without a body, long and short, one after the other: each is whole and none waits for the next."""
    asked = [
        ("GET", "/whole", 200, WHOLE),
        ("HEAD", "/whole", 200, b""),
        ("GET", "/nothing", 204, b""),
        ("GET", "/go", 200, b""),
        ("GET", "/whole", 200, WHOLE),
    ]
    with _connected(port) as connection:
        for method, path, status, body in asked:
            connection.request(method, path)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (status, body), (method, path)


def test_first_piece_of_a_stream_does_not_wait_for_the_second(port: int) -> None:
    """It is there, with its head, while the engine has no more to say."""
    with _connected(port) as connection:
        connection.request("GET", "/stream")
        answer = connection.getresponse()
        assert answer.read(len(b"first")) == b"first"
        assert _asked(port, "/go") == (200, b"")
        assert answer.read() == b"second"


def test_client_that_asks_whether_to_send_its_body_is_told_to(port: int) -> None:
    """`100 Continue` comes before any head, and at once."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"POST /go HTTP/1.1\r\nhost: engine\r\nexpect: 100-continue\r\ncontent-length: 2\r\n")
        client.sendall(b"connection: close\r\n\r\n{}")
        assert b"HTTP/1.1 200 OK\r\n" in _until_closed(client)


def test_what_cannot_be_read_is_refused(port: int) -> None:
    """Uvicorn writes the refusal and closes: neither is lost."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"what is this\r\n\r\n")
        assert _until_closed(client).startswith(b"HTTP/1.1 400 ")


def _connected(port: int) -> closing[HTTPConnection]:
    return closing(HTTPConnection("127.0.0.1", port, timeout=60))


def _asked(port: int, path: str) -> tuple[int, bytes]:
    with _connected(port) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def _until_closed(client: socket.socket) -> bytes:
    """Everything that comes; a reset is an end like any other."""
    said = b""
    while True:
        try:
            piece = client.recv(65536)
        except ConnectionResetError:
            return said
        if not piece:
            return said
        said += piece
