"""A router that says what a test tells it to say, and remembers what it was asked: to see what the edge makes of it."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Mapping

from router.spop import Agent, Limits, Notify, Value

Variables = Mapping[str, Value]


class Decider:
    """Listens on `port` from `start` to `stop`. `answers`: what is said, by message name.

    `wait_seconds` go by before `admit` is answered.
    """

    def __init__(self, port: int, answers: dict[str, Variables], wait_seconds: float = 0.0) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Variables]] = []
        self._port = port
        self._wait_seconds = wait_seconds
        self._open: set[socket.socket] = set()

    def start(self) -> None:
        """Listen, each connection in a thread of its own."""
        decider = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                decider.serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", self._port), Connection)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and all connections with it."""
        self._server.shutdown()
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):  # the other side was faster
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    def of(self, name: str) -> list[Variables]:
        """The arguments of every question of this name, so far."""
        return [arguments for asked, arguments in self.asked if asked == name]

    def serve(self, connection: socket.socket) -> None:
        """Answer until either side ends the connection."""
        agent = Agent(Limits(frame=131072, payload=524288))
        self._open.add(connection)
        with contextlib.suppress(OSError):  # the edge left, or the test stopped this
            while not agent.closing and (data := connection.recv(65536)):
                for question in agent.receive(data):
                    agent.acknowledge(question, self._answer(question))
                connection.sendall(agent.pending())
        self._open.discard(connection)

    def _answer(self, question: Notify) -> dict[str, Value]:
        said: dict[str, Value] = {}
        for name, arguments in question.messages.items():
            self.asked.append((name, arguments))
            time.sleep(self._wait_seconds if name == "admit" else 0)
            said |= self.answers.get(name, {})
        return said
