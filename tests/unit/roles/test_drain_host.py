"""A host's engines are taken out at every router, stopped once they are empty, and brought back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.playbooks import bare, play, stand_in
from tests.support.processes import ROOT

DOCKER = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$1" in
ps) printf 'engine-a\\nengine-b\\n' ;;
inspect) echo healthy ;;
esac
"""


class Router:
    """The admin side as a router answers it. `engine-a` gets empty once it was asked about twice after its drain."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.draining = {"engine-a": False, "engine-b": True, "engine-of-another-host": False}
        self.left = 2
        router = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({"engines": router.engines()})

            def do_POST(self) -> None:
                router.order(self.path)
                self.answer({})

            def answer(self, said: dict[str, Any]) -> None:
                body = json.dumps(said).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: pytest shows what matters."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.server_address[1])

    def engines(self) -> list[dict[str, Any]]:
        """What `GET /admin/engines` lists."""
        busy = self.left if self.draining["engine-a"] else 5
        self.left = max(0, self.left - 1) if self.draining["engine-a"] else self.left
        flights = {"engine-a": busy, "engine-of-another-host": 9}
        return [
            {"name": name, "draining": draining, "in_flight": flights.get(name, 0)}
            for name, draining in self.draining.items()
        ]

    def order(self, path: str) -> None:
        """`POST /admin/engines/NAME/VERB`."""
        _, _, _, name, verb = path.split("/")
        self.orders.append(f"{verb} {name}")
        self.draining[name] = verb == "drain"


@pytest.fixture
def router() -> Iterator[Router]:
    """One, until the test is over."""
    found = Router()
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_engines_are_drained_stopped_started_and_undrained(tmp_path: Path, router: Router) -> None:
    """In this order; the engine that was drained before stays so, and the other host's is not touched."""
    stand_in(tmp_path, "docker", DOCKER)
    port = {"name": "http", "address": "127.0.0.1", "port": router.port}
    services = [{"kind": "router", "host": "box", "ports": [port]}, {"kind": "edge", "host": "box", "ports": []}]
    plan = {"services": services, "settings": {"engines": {"start_timeout_seconds": 10}}}
    tasks = [
        {"ansible.builtin.include_tasks": f"{ROOT}/playbooks/tasks/{name}_host.yml"} for name in ("drain", "undrain")
    ]
    around = bare(tmp_path, CALLS=str(tmp_path / "calls"))
    done = play(tmp_path, tasks, {"stack_plan": plan}, host="box", env=around)
    assert "failed=0" in done.stdout, done.stdout + done.stderr
    assert router.orders == ["drain engine-a", "undrain engine-a"]
    assert router.left == 0
    verbs = [line for line in (tmp_path / "calls").read_text().splitlines() if line.split()[0] in ("stop", "start")]
    assert verbs == ["stop engine-a engine-b", "start engine-a engine-b"]
