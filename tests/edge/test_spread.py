"""Sessions over several routers: the same share for each, and as few moves as can be when one comes or goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.processes import wait_until
from tests.support.stack import Stack, edge_config

Start = Callable[..., Stack]


def test_sessions_of_a_router_that_is_away_are_spread_over_all_others(start: Start) -> None:
    """No other one gets them all; each session has one stand-in, and the others' sessions stay where they are."""
    stack = start(count=4)
    sessions = [f"session-{number}" for number in range(48)]
    wait_until(lambda: {_line(stack, one)["decider"] for one in sessions} == {*range(4)}, "every router decides", 90)
    slots = {session: _line(stack, session)["slot"] for session in sessions}
    for gone in (0, 2):
        stack.routers[gone].stop()
        of_the_gone = [session for session, slot in slots.items() if slot == gone]
        wait_until(partial(_stood_in, stack, of_the_gone, {*range(4)} - {gone}), "all others stand in")
        lines = {session: [_line(stack, session) for _ in range(2)] for session in sessions}
        assert {session: line["slot"] for session, [line, _] in lines.items()} == slots
        assert all(first["decider"] == second["decider"] for first, second in lines.values())
        assert all(line["decider"] == slots[one] for one, [line, _] in lines.items() if slots[one] != gone)
        stack.routers[gone].start()
        wait_until(partial(_stood_in, stack, of_the_gone, {gone}), "it is back")


def test_one_more_router_moves_its_own_share_of_the_sessions(tmp_path: Path) -> None:
    """From three to four every fourth session moves, and none between routers that were there before."""
    sessions = [f"session-{number}" for number in range(400)]
    three, four = (_slots(_folder(tmp_path, count), count, sessions) for count in (3, 4))
    assert [{*found.values()} for found in (three, four)] == [{0, 1, 2}, {0, 1, 2, 3}]
    moved = [session for session in sessions if three[session] != four[session]]
    assert {four[session] for session in moved} == {3}
    assert {count // 70 for count in [len(moved), *Counter(four.values()).values()]} == {1}  # 100, as chance has it


def _folder(under: Path, count: int) -> Path:
    folder = under / str(count)
    folder.mkdir()
    return folder


def _slots(folder: Path, count: int, sessions: list[str]) -> dict[str, int]:
    """Whose sessions these are, as the edge says by itself: nobody else runs."""
    stack = Stack(folder, edge_config({"tiny": 1}, count=count))
    try:
        stack.edge.start()
        wait_until(lambda: stack.get("/health").status == 200, "the edge listens")
        ids = {session: stack.chat(session).headers["x-request-id"] for session in sessions}
        wait_until(lambda: {*ids.values()} <= {line["id"] for line in stack.lines()}, "all lines are there")
        found = {line["id"]: int(line["slot"]) for line in stack.lines()}
        return {session: found[name] for session, name in ids.items()}
    finally:
        stack.stop()


def _line(stack: Stack, session: str) -> dict[str, Any]:
    return stack.line(stack.chat(session).headers["x-request-id"])


def _stood_in(stack: Stack, sessions: list[str], wanted: set[int]) -> bool:
    return {_line(stack, session)["decider"] for session in sessions} == wanted
