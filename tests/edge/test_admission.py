"""Engines at their cap: requests wait in a fair order, or are refused when that is kinder, and outlive the router."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.clients import Answer, head
from tests.support.processes import wait_until
from tests.support.stack import CHAT, Stack, edge_config

CLASSES = [{"name": "normal"}, {"name": "urgent", "weight": 16, "priority": -5}]
LONG = 60.0  # seconds the blocking request would take if nobody ended it


class Jam:
    """A stack with one place, which is taken: what comes waits until `open`."""

    def __init__(self, stack: Stack, pool: ThreadPoolExecutor) -> None:
        self.stack = stack
        self._pool = pool
        wait_until(lambda: self.value("leases") == 0, "what was sent before is over")
        self._blocker = _begin(stack, "blocker", delay=LONG)
        wait_until(lambda: self.value("engine_full") == 1, "the engine is full")

    def send(self, name: str, **headers: str) -> Future[Answer]:
        """Send a request that is going to wait, and see it wait."""
        before = self.waiting
        answer = self._pool.submit(self.stack.post, self.stack.question(delay=0.02), x_request_id=name, **headers)
        wait_until(lambda: self.waiting > before, f"{name} waits")
        return answer

    @property
    def waiting(self) -> int:
        """How many wait."""
        return int(self.value("queue_requests"))

    def value(self, name: str) -> float:
        """A metric of the router, summed over its labels."""
        port = int(self.stack.config["router"]["http"].rpartition(":")[2])
        lines = self.stack.get("/metrics", port).body.decode().splitlines()
        found = [line.split()[-1] for line in lines if line.startswith(f"ironrack_router_{name}") and line[0] != "#"]
        assert found, name
        return sum(map(float, found))

    def open(self) -> None:
        """End the blocking request: its client leaves."""
        self._blocker.close()

    def served(self) -> list[str]:
        """The ids of the requests in the order in which they ended, the blocker's and the first ones left out."""
        return [line["id"] for line in self.stack.lines() if line["status"] == 200 and line["id"].startswith("r")]


def _begin(stack: Stack, name: str, **wish: object) -> socket.socket:
    """Send a request and leave its answer to come."""
    body = json.dumps(stack.question(**wish)).encode()
    start = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-request-id: {name}\r\nauthorization: Bearer key-flood\r\n"
    sock = socket.create_connection(("127.0.0.1", stack.port))
    sock.sendall(f"{start}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    return sock


Build = Callable[..., Jam]


@pytest.fixture
def jam(tmp_path: Path) -> Iterator[Build]:
    """Start a stack of one engine with one place, and take it. The arguments are settings of the router's admission."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(64) as pool:

        def build(tenants: tuple[str, ...] = (), engines: int = 1, **admission: Any) -> Jam:
            edge = edge_config({"tiny": engines})
            edge["timeouts"]["decide_milliseconds"] = (
                10_000  # what is tested is who waits, never how fast this machine is
            )
            edge["timeouts"]["queue_seconds"] = int(admission.get("queue_seconds", 30))
            if tenants:
                keys = tmp_path / "keys"
                keys.write_text("".join(f"{_digest(name)} {name}|0|0|\n" for name in tenants))
                edge["auth"] = {"keys_path": str(keys)}
                edge["tenants"] = [{"name": name, "requests_per_minute": 0, "concurrency": 0} for name in tenants]
            started = Stack(tmp_path, edge)
            stack.callback(started.stop)
            _settle(tmp_path / "router.yml", tenants, admission)
            for child in (*started.engines.values(), started.router, started.edge):
                child.start()
            wait_until(lambda: _decided(started), "the router decides")
            built = Jam(started, pool)
            stack.callback(built.open)
            return built

        yield build


def _decided(stack: Stack) -> bool:
    answer = stack.post(stack.question(), authorization="Bearer key-flood")
    return answer.status == 200 and answer.why not in {"fallback", "retry"}


def _settle(path: Path, tenants: tuple[str, ...], admission: dict[str, Any]) -> None:
    settings = yaml.safe_load(path.read_text())
    settings["admission"] = {"max_requests": 1, "queue_seconds": 30.0, "classes": CLASSES} | admission
    settings["tenants"] = [{"name": name} for name in tenants]
    path.write_text(yaml.safe_dump(settings))


def _digest(tenant: str) -> str:
    return hashlib.sha256(f"key-{tenant}".encode()).hexdigest()


def test_requests_that_find_no_room_wait_and_are_served_in_order(jam: Build) -> None:
    """First come, first served; nobody sees more of it than time."""
    full = jam()
    answers = [full.send(f"r{number}") for number in range(6)]
    full.open()
    assert [answer.result().status for answer in answers] == [200] * 6
    assert [answer.result().why for answer in answers] == ["home"] * 6
    wait_until(lambda: len(full.served()) == 6, "all are told")
    assert full.served() == [f"r{number}" for number in range(6)]
    assert full.waiting == 0
    wait_until(lambda: full.value("leases") == 0, "no lease is left")


def test_urgent_class_overtakes_and_the_engine_is_told(jam: Build) -> None:
    """A request of a heavier class goes before all that came earlier; its number reaches the engine."""
    full = jam()
    answers = [full.send(f"r{number}") for number in range(4)]
    urgent = full.send("r-urgent", x_priority_class="urgent")
    full.open()
    assert urgent.result().json["headers"]["x-ironrack-priority"] == "-5"
    assert all("x-ironrack-priority" not in answer.result().json["headers"] for answer in answers)
    wait_until(lambda: len(full.served()) == 5, "all are told")
    assert full.served() == ["r-urgent", "r0", "r1", "r2", "r3"]


def test_flooding_tenant_does_not_starve_another(jam: Build) -> None:
    """While both wait they are served alike, however many of one wait and however early they came."""
    full = jam(("flood", "quiet"))
    answers = [full.send(f"r-flood-{number}", authorization="Bearer key-flood") for number in range(24)]
    answers += [full.send(f"r-quiet-{number}", authorization="Bearer key-quiet") for number in range(8)]
    full.open()
    assert {answer.result().status for answer in answers} == {200}
    wait_until(lambda: len(full.served()) == 32, "all are told")
    names = [name.split("-")[1] for name in full.served()]
    last = max(at for at, name in enumerate(names) if name == "quiet")
    served = [names[: last + 1].count(name) for name in ("flood", "quiet")]
    assert sum(served) ** 2 / (2 * sum(each**2 for each in served)) >= 0.9


def test_full_queue_is_429_and_says_who_and_when(jam: Build) -> None:
    """The router refuses with a reason a program can read; what waits is not touched."""
    full = jam(queue_capacity=2)
    answers = [full.send(f"r{number}") for number in range(2)]
    refused = full.stack.post(full.stack.question(), x_request_id="r-late")
    assert (refused.status, refused.headers["x-error-source"]) == (429, "router")
    assert refused.json["error"]["code"] == "queue_full"
    assert refused.json["request_id"] == "r-late"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    full.open()
    assert [answer.result().status for answer in answers] == [200, 200]


def test_request_that_waits_too_long_is_429(jam: Build) -> None:
    """The deadline is the router's answer, before the edge's own patience ends."""
    full = jam(queue_seconds=1.0)
    late = full.send("r-late").result()
    assert (late.status, late.headers["x-error-source"]) == (429, "router")
    assert late.json["error"]["code"] == "queue_timeout"
    assert full.waiting == 0


def test_client_that_leaves_is_forgotten_and_takes_no_turn(jam: Build) -> None:
    """Its place goes to the next one. HAProxy 3.0 does not look at a client whose request is whole: there it is
    forgotten when its turn comes.
    """
    full = jam()
    leaver = _begin(full.stack, "r-left", delay=LONG)
    wait_until(lambda: full.waiting == 1, "it waits")
    stayer = full.send("r-stayed")
    leaver.close()
    if full.stack.config["haproxy_version"] != "3.0":
        wait_until(lambda: full.waiting == 1, "it is forgotten")
        assert full.value("queue_abandoned_total") == 1
        assert full.stack.line("r-left")["server"] == "<NOSRV>"
    full.open()
    assert stayer.result().status == 200
    wait_until(lambda: full.value("leases") == 0, "no lease is left")


def test_request_may_wait_longer_than_its_body_may_take(jam: Build) -> None:
    """The deadline for the body is over with the body: what waits behind it neither ends nor costs anything then."""
    full = jam()
    body = json.dumps(full.stack.question(delay=0.02)).encode()
    with socket.create_connection(("127.0.0.1", full.stack.port), timeout=30) as sock:
        sock.sendall(head(CHAT, "content-type: application/json", f"content-length: {len(body)}", "x-request-id: r0"))
        time.sleep(0.1)  # so that the body comes in a packet of its own: nothing tells that the edge has read the head
        sock.sendall(body)
        wait_until(lambda: full.waiting == 1, "it waits")
        passed = time.monotonic() + full.stack.config["timeouts"]["request_seconds"] + 1
        wait_until(lambda: time.monotonic() > passed, "the body's deadline is over")
        full.open()
        assert sock.recv(12) == b"HTTP/1.1 200"
    assert full.stack.edge.running


def test_router_that_dies_while_requests_wait_costs_none_of_them(jam: Build) -> None:
    """The edge serves them by itself."""
    full = jam(engines=1)
    answers = [full.send(f"r{number}") for number in range(5)]
    full.stack.router.signal(signal.SIGKILL)
    assert [answer.result().status for answer in answers] == [200] * 5
    assert {answer.result().why for answer in answers} == {"fallback"}


def test_waiting_does_not_hold_other_questions(jam: Build) -> None:
    """While some wait, what needs no engine is answered at once, and so is a request that is refused."""
    full = jam()
    answers = [full.send(f"r{number}") for number in range(12)]
    refused = [full.stack.post(full.stack.question(model="nope")).status for _ in range(5)]
    assert refused == [404] * 5
    assert not any(answer.done() for answer in answers)
    full.open()
    assert {answer.result().status for answer in answers} == {200}
