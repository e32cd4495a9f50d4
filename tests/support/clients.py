"""Clients for tests: a whole answer, a raw exchange, and a stream read as it comes."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One whole answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def engine(self) -> str:
        """Who served it."""
        return self.headers["x-served-by"]

    @property
    def why(self) -> str:
        """Why there."""
        return self.headers["x-route-reason"]


def call(port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    """One request on a connection of its own. Raises what http.client raises when the answer breaks off."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        with connection.getresponse() as response:
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())


def exchange(port: int, request: bytes) -> Answer:
    """Send octets as they are, read one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(request)
        with contextlib.closing(http.client.HTTPResponse(sock, method="POST")) as response:
            response.begin()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks, ended."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    """The head of a raw request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: test", *headers, "", ""]).encode()
