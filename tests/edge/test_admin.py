"""The listener for operators, and the table that edges share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.support.clients import call
from tests.support.processes import free_ports, wait_until
from tests.support.stack import Stack, edge_config

Start = Callable[..., Stack]
TOKEN = {"authorization": "Bearer operator"}


def test_operators_have_a_listener_of_their_own(start: Start, tmp_path: Path) -> None:
    """With the token the router's verbs and metrics, without it 401; never on the clients' port, and nothing else."""
    tokens = tmp_path / "admin-tokens"
    tokens.write_text(hashlib.sha256(b"operator").hexdigest() + "\n")
    [port] = free_ports(1)
    stack = start(count=2, admin={"address": "127.0.0.1", "port": port, "token_path": str(tokens)})
    for path in ("/admin/engines", "/metrics", "/1/admin/engines", "/1/metrics"):
        assert call(port, "GET", path, None, TOKEN).status == 200
        for wrong in ({}, {"authorization": "Bearer none"}, {"authorization": "operator"}):
            assert call(port, "GET", path, None, wrong).status == 401
        assert call(stack.port, "GET", path, None, TOKEN).status == 404
    for path in ("/v1/models", "/healthz", "/2/metrics/x", "/admin/../v1/models", "//admin/engines"):
        assert call(port, "GET", path, None, TOKEN).status in {400, 404}


def test_session_goes_home_whichever_edge_it_meets(start: Start, tmp_path: Path) -> None:
    """Edges tell each other where sessions are: one whose router is away knows what the other one learnt."""
    ports = dict(zip(("a", "b"), free_ports(2), strict=True))
    peers = [{"name": name, "address": "127.0.0.1", "port": port} for name, port in ports.items()]
    first = start({"tiny": 4}, peers=peers, peer_name="a")
    config = edge_config({"tiny": 4}, peers=peers, peer_name="b") | {"models": first.config["models"]}
    second = Stack(tmp_path, config, engines_run=True)
    sessions = [f"session-{number}" for number in range(12)]
    homes = {session: first.chat(session).engine for session in sessions}
    try:
        second.edge.start()
        wait_until(lambda: {one: second.chat(one).engine for one in sessions} == homes, "every session goes home")
        assert {second.chat(session).why for session in sessions} == {"fallback"}
    finally:
        second.stop()


def test_session_has_one_router_and_another_stands_in(start: Start) -> None:
    """A session's requests are all decided by one of several; when that one is gone, by another."""
    stack = start(count=3)
    sessions = [f"session-{number}" for number in range(12)]
    wait_until(
        lambda: set().union(*(_deciders(stack, one) for one in sessions)) == {0, 1, 2}, "every router decides", 90
    )
    slots = {session: _deciders(stack, session) for session in sessions}
    assert all(len(found) == 1 for found in slots.values())
    assert {next(iter(found)) for found in slots.values()} == {0, 1, 2}
    stack.routers[1].stop()
    of_the_gone = [session for session, found in slots.items() if found == {1}]
    wait_until(lambda: stack.chat(of_the_gone[0]).why != "fallback", "another router stands in")
    assert all(_deciders(stack, session) <= {0, 2} for session in of_the_gone)
    line = stack.line(stack.chat(of_the_gone[0]).headers["x-request-id"])
    assert (line["slot"], line["decider"] in {0, 2}) == (1, True)
    assert all(_deciders(stack, session) == found for session, found in slots.items() if found != {1})


def test_conversation_without_a_session_header_has_one_router(start: Start) -> None:
    """Each turn begins as the one before it, and that is enough to find the same router."""
    stack = start(count=3)
    for question in range(9):
        wait_until(partial(_agree, stack, question), "both turns have one router", 60)
    wait_until(
        lambda: len(set().union(*(_of_two_turns(stack, one) for one in range(9)))) > 1, "routers share the work", 60
    )


def _agree(stack: Stack, question: int) -> bool:
    return len(_of_two_turns(stack, question)) == 1


def _of_two_turns(stack: Stack, question: int) -> set[int]:
    talk = [{"role": "system", "content": "be brief"}, {"role": "user", "content": f"question {question}"}]
    more = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "and?"}]
    answers = [stack.post(stack.question(messages=turn)) for turn in (talk, talk + more)]
    return {stack.line(answer.headers["x-request-id"])["decider"] for answer in answers}


def _deciders(stack: Stack, session: str) -> set[int]:
    return {stack.line(stack.chat(session).headers["x-request-id"])["decider"] for _ in range(3)}
