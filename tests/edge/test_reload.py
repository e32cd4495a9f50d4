"""A reload: a new process knows what the old one knew of sessions, stored responses and tenants."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.edge.test_stored_responses import chats, strays, turns
from tests.support.clients import Answer
from tests.support.processes import wait_until
from tests.support.runtime_socket import ask, process, settled
from tests.support.stack import Stack

Start = Callable[..., Stack]
ENGINES, SESSIONS = 4, 40
SLOW = {"name": "slow", "requests_per_minute": 3, "concurrency": 0}


def reload(stack: Stack) -> None:
    """Reload the edge as a deploy does; returns when the new process was told all there is and the old one has ended.

    By then the master listens again: HAProxy loses the signal for a reload that meets it in the middle of another.
    """
    path = stack.config["runtime_socket"]
    wait_until(partial(settled, path), "the process is as old as one must be to hand over")
    before = process(path)
    assert stack.edge.process is not None
    stack.edge.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: process(path) != before, "a new process answers")
    wait_until(partial(settled, path), "the new process was told all there is")
    wait_until(lambda: not Path(f"/proc/{before}").exists(), "the old process has ended")


def turn(stack: Stack) -> dict[str, Answer]:
    """A turn of every session, by session; together, so that load spreads those which are new."""
    names = [f"session-{at}" for at in range(SESSIONS)]
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(names, pool.map(partial(stack.chat, chunks=1, delay=0.02), names), strict=True))


def engines(answers: dict[str, Answer]) -> dict[str, str]:
    return {session: answer.engine for session, answer in answers.items()}


def reasons(answers: dict[str, Answer]) -> set[str]:
    return {answer.why for answer in answers.values()}


def test_sessions_go_home_after_a_reload_that_no_router_sees(start: Start) -> None:
    """Nobody but the old process knows where they are at home, and the hash would say another engine for most."""
    stack = start({"tiny": ENGINES})
    home = engines(turn(stack))
    stack.router.stop()
    reload(stack)
    reload(stack)
    after = turn(stack)
    assert (engines(after), reasons(after)) == (home, {"fallback"})
    ask(stack.config["runtime_socket"], "clear table model-tiny")
    assert sum(engine != home[session] for session, engine in engines(turn(stack)).items()) > SESSIONS / 2


def test_stored_responses_are_found_after_a_reload_that_no_router_sees(start: Start) -> None:
    """Their ids name no engine, and no hash can know it."""
    stack = start({"tiny": ENGINES})
    found = chats(stack)
    stack.router.stop()
    reload(stack)
    assert turns(found, 1) == {"fallback"}
    assert strays(found) == {}


def test_minute_of_a_tenant_does_not_begin_anew_with_a_reload(start: Start, tmp_path: Path) -> None:
    """What it has asked for in the last minute still counts: a deploy gives nobody twice as much."""
    keys = tmp_path / "keys.map"
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("sk-slow", "sk-free")}
    keys.write_text(f"{digests['sk-slow']} slow|3|0|\n{digests['sk-free']} free|0|0|\n")
    bearer = {name: {"authorization": f"Bearer {name}"} for name in digests}
    tenants = [SLOW, {"name": "free", "requests_per_minute": 0, "concurrency": 0}]
    stack = start({"tiny": 2}, headers=bearer["sk-free"], auth={"keys_path": str(keys)}, tenants=tenants)
    asked = partial(stack.post, stack.question(), **bearer["sk-slow"])
    assert {asked().status for _ in range(3)} == {200}
    reload(stack)
    assert [asked().status, stack.post(stack.question(), **bearer["sk-free"]).status] == [429, 200]
