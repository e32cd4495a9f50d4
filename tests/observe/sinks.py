"""Who listens in place of people, and targets that can be told to misbehave."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.processes import free_ports

_METRICS = b"# TYPE toy_up gauge\ntoy_up 1\n"


@dataclass
class Hooks:
    """An HTTP server that keeps what it was posted: (path, authorization, body); of what is no JSON the length."""

    port: int
    heard: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def at(self, path: str) -> list[dict[str, Any]]:
        """What came to one path."""
        return [body for where, _, body in list(self.heard) if where == path]


@contextmanager
def hooks() -> Iterator[Hooks]:
    """A sink for webhooks and for Slack, which is one."""
    [port] = free_ports(1)
    found = Hooks(port)

    class Handler(_Quiet):
        def do_POST(self) -> None:
            octets = self.rfile.read(int(self.headers["content-length"]))
            body = json.loads(octets) if "json" in self.headers["content-type"] else {"octets": len(octets)}
            found.heard.append((self.path, self.headers.get("authorization", ""), body))
            self.reply(200, b"ok")

    with _serving(port, Handler):
        yield found


@dataclass
class Toy:
    """A target. `mode`: fine, broken (500), garbage, hanging."""

    port: int
    mode: str = "fine"
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        """Where it is scraped."""
        return f"127.0.0.1:{self.port}"


@contextmanager
def toy(mode: str = "fine") -> Iterator[Toy]:
    """A target of Prometheus in one of its moods."""
    [port] = free_ports(1)
    found = Toy(port, mode)

    class Handler(_Quiet):
        def do_GET(self) -> None:
            if found.mode == "hanging":
                found.released.wait(60)
            status, body = {"broken": (500, b"broken"), "garbage": (200, b"<html>Please log in</html>\n")}.get(
                found.mode, (200, _METRICS)
            )
            self.reply(status, body)

    with _serving(port, Handler):
        yield found
        found.released.set()


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status: int, body: bytes) -> None:
        """One answer; whoever asked may be gone."""
        try:
            self.send_response(status)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test's output is for what failed."""


@contextmanager
def _serving(port: int, handler: type[BaseHTTPRequestHandler]) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass
class Mailbox:
    """What a mail server took: who logged in, and every mail."""

    port: int
    logins: list[tuple[str, str]] = field(default_factory=list)
    mails: list[Message] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd asks for it
        """One mail."""
        content = envelope.content
        self.mails.append(message_from_bytes(content if isinstance(content, bytes) else str(content).encode()))
        return "250 taken"

    def login(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        """Whoever names himself may send."""
        if isinstance(data, LoginPassword):
            self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=True)


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """A mail server on loopback that takes a login."""
    [port] = free_ports(1)
    found = Mailbox(port)
    controller = Controller(
        found,
        hostname="127.0.0.1",
        port=port,
        authenticator=found.login,
        auth_require_tls=False,
        # Its prompts for LOGIN are none that Alertmanager knows.
        auth_exclude_mechanism=["LOGIN"],
    )
    controller.start()
    try:
        yield found
    finally:
        controller.stop()


def listening(port: int) -> bool:
    """Whether anything listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
