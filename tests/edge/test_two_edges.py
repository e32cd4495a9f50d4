"""Two edges with two routers each, and the same sessions through all of them: one engine has each session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.support.clients import Answer
from tests.support.processes import free_ports, wait_until
from tests.support.stack import Stack, edge_config

Start = Callable[..., Stack]
ENGINES, ROUTERS = 4, 2
SESSIONS, TURNS = 150, 3  # turns before and after: each through the other edge than the one before
SHARE = 0.99


def test_sessions_have_one_engine_through_every_edge_and_router_and_when_all_start_again(
    start: Start, tmp_path: Path
) -> None:
    """Of all turns 99 of 100 are served where most of their session were, though no router outlives the middle."""
    ports = dict(zip(("a", "b"), free_ports(2), strict=True))
    peers = [{"name": name, "address": "127.0.0.1", "port": port} for name, port in ports.items()]
    first = start({"tiny": ENGINES}, peers=peers, peer_name="a", count=ROUTERS)
    config = edge_config({"tiny": ENGINES}, count=ROUTERS, peers=peers, peer_name="b")
    second = Stack(tmp_path, config | {"models": first.config["models"]}, engines_run=True)
    edges = (first, second)
    try:
        second.start()
        _await_routers(edges)
        before = [_turn(edges[turn % 2], turn) for turn in range(TURNS)]
        for router in (*first.routers, *second.routers):
            router.stop()
        for router in (*first.routers, *second.routers):
            router.start()
        _await_routers(edges)
        after = [_turn(edges[turn % 2], turn) for turn in range(TURNS, 2 * TURNS)]
        assert _deciders(first) == _deciders(second) == {*range(ROUTERS)}
    finally:
        second.stop()
    assert _share([*before, *after]) >= SHARE
    # On all engines, so that one and the same for everybody is not what was found.
    assert min(_spread(before[0], ENGINES)) > SESSIONS / ENGINES / 2


def _turn(stack: Stack, number: int) -> list[Answer]:
    """One turn of every session. The first ones come together, and load decides where each goes, not its name alone.

    Later ones come one after the other: nothing is queued anywhere that a session could flee from.
    """
    talk = [{"role": "user", "content": f"question {at}"} for at in range(number + 1)]
    with ThreadPoolExecutor(1 if number else 8) as pool:
        asked = partial(stack.chat, messages=talk, chunks=1, delay=0 if number else 0.02)
        return list(pool.map(asked, (f"session-{at}" for at in range(SESSIONS))))


def _share(turns: Sequence[Sequence[Answer]]) -> float:
    """Of all turns, those at the engine that has most of their session's."""
    sessions = [Counter(answer.engine for answer in answers) for answers in zip(*turns, strict=True)]
    return sum(max(engines.values()) for engines in sessions) / sum(engines.total() for engines in sessions)


def _spread(answers: Sequence[Answer], engines: int) -> list[int]:
    found = Counter(answer.engine for answer in answers)
    return [*found.values(), *[0] * (engines - len(found))]


def _await_routers(edges: Sequence[Stack]) -> None:
    for stack in edges:
        wait_until(partial(_ready, stack), "every router is ready", 60)


def _ready(stack: Stack) -> bool:
    ports = [int(decider["http"].rpartition(":")[2]) for decider in stack.config["deciders"]]
    return {stack.get("/readyz", port).status for port in ports} == {200}


def _deciders(stack: Stack) -> set[int]:
    """The routers that have decided requests of this edge."""
    return {int(line["decider"]) for line in stack.lines()} - {-1}
