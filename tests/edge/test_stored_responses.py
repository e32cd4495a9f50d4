"""What continues a stored response reaches the engine that keeps it, whoever has forgotten about it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Answer
from tests.support.processes import free_ports, wait_until
from tests.support.runtime_socket import entries
from tests.support.stack import Stack, edge_config

Start = Callable[..., Stack]
ENGINES, CHAINS, TURNS = 4, 12, 4
RESPONSES = "/v1/responses"
SLOW = {"fallback"}  # a router that did not answer in time on a machine that does much else: no fault of the rule


class Chat:
    """A client that continues its last response; what it asks is new in every turn, and names nothing."""

    def __init__(self, stack: Stack, name: str, stream: bool = False, **headers: str) -> None:
        self.stack, self.name, self._stream, self._headers = stack, name, stream, headers
        self.previous: str | None = None
        self.engines: list[str] = []

    def turn(self, **wish: object) -> Answer:
        """Ask, and remember where that was answered and as what it is stored."""
        number = len(self.engines)
        body: dict[str, Any] = {"model": "tiny", "input": f"{self.name}: question {number}"} | wish
        if self.previous is not None:
            body["previous_response_id"] = self.previous
        if self._stream:
            body |= {"stream": True, "chunks": 3}
        answer = self.stack.post(body, RESPONSES, **self._headers)
        assert answer.status == 200
        self.engines.append(answer.headers["x-served-by"])
        self.previous = answer.body.decode().split('"id": "')[1].split('"')[0]
        return answer


def chats(stack: Stack, **more: Any) -> list[Chat]:
    """Some of them, after their first turn."""
    found = [Chat(stack, f"chat {index}", **more) for index in range(CHAINS)]
    for chat in found:
        chat.turn()
    assert len({chat.engines[0] for chat in found}) > 1
    return found


def turns(found: list[Chat], count: int = TURNS) -> set[str]:
    """So many further turns of each; the reasons that were given."""
    return {chat.turn().why for chat, _ in itertools.product(found, range(count))}


def strays(found: list[Chat]) -> dict[str, list[str]]:
    """The chats that were answered by an engine that does not keep what they continue."""
    return {chat.name: chat.engines for chat in found if len(set(chat.engines)) > 1}


def agree(first: Stack, second: Stack, table: str) -> bool:
    """Whether both edges have as many entries of a table."""
    one, other = (entries(stack.config["runtime_socket"], table) for stack in (first, second))
    return one == other


def ready(start: Start, count: int) -> Stack:
    """Several engines and so many routers, all of which decide."""
    stack = start({"tiny": ENGINES}, count=count)
    wait_until(lambda: settled(stack), "every router decides")
    return stack


def restart(stack: Stack) -> None:
    """Routers that know nothing of what was before."""
    for router in stack.routers:
        router.stop()
        router.start()
    wait_until(lambda: settled(stack), "the routers decide again")


def settled(stack: Stack) -> bool:
    """Whether every router decides what belongs to it."""
    answers = [stack.chat(f"probe {index}") for index in range(8 * len(stack.routers))]
    lines = [stack.line(answer.headers["x-request-id"]) for answer in answers]
    return all(line["decider"] == line.get("slot", 0) for line in lines)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("count", [1, 3])
def test_chain_of_responses_stays_where_it_is_stored(start: Start, count: int, stream: bool) -> None:
    """No turn names anything but the response before it: it meets the engine that has that."""
    stack = ready(start, count)
    found = chats(stack, stream=stream)
    assert turns(found) - SLOW == {"home"}
    assert not strays(found)


def test_chain_of_responses_is_decided_by_one_router(start: Start) -> None:
    """What the first turn said decides which; later turns say something else, and go there by what they continue."""
    stack = ready(start, 3)
    slots: dict[int, set[int]] = {}
    found = chats(stack)
    for index, chat in [*enumerate(found)] * 3:
        line = stack.line(chat.turn().headers["x-request-id"])
        assert line["decider"] in {line["slot"], -1}
        slots.setdefault(index, set()).add(line["slot"])
    assert all(len(met) == 1 for met in slots.values())
    assert len(set.union(*slots.values())) > 1


@pytest.mark.parametrize("count", [1, 2])
def test_chain_of_responses_survives_routers_that_start_again(start: Start, count: int) -> None:
    """They have forgotten what is stored where; the edge has not, and they learn it from the next answer."""
    stack = ready(start, count)
    found = chats(stack)
    restart(stack)
    assert turns(found) - SLOW == {"home"}
    assert not strays(found)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_chain_of_responses_goes_on_without_a_router(start: Start, stream: bool) -> None:
    """The edge alone finds the engine, for what was stored before the routers went and for what came after."""
    stack = ready(start, 2)
    found = chats(stack, stream=stream)
    for router in stack.routers:
        router.stop()
    assert turns(found) == {"fallback"}
    assert not strays(found)


@pytest.mark.parametrize("routers", ["know", "started again", "gone"])
def test_chains_of_one_named_session_each_go_where_they_are_stored(start: Start, routers: str) -> None:
    """A session that moved has left responses behind: what continues one of them follows that, not the session."""
    stack = ready(start, 1)
    first, second = Chat(stack, "first", x_session_id="s"), Chat(stack, "second", x_session_id="s")
    first.turn()
    second.turn(fail_on=[first.engines[0]], how="503")
    assert first.engines != second.engines
    if routers != "know":
        stack.router.stop()
    if routers == "started again":
        stack.router.start()
        wait_until(lambda: settled(stack), "the router decides again")
    turns([first, second])
    assert not strays([first, second])


def test_response_is_continued_through_another_edge(start: Start, tmp_path: Path) -> None:
    """Edges tell each other which engine keeps what."""
    ports = free_ports(2)
    peers = [{"name": name, "address": "127.0.0.1", "port": port} for name, port in zip("ab", ports, strict=True)]
    first = start({"tiny": ENGINES}, peers=peers, peer_name="a")
    config = edge_config({"tiny": ENGINES}, peers=peers, peer_name="b") | {"models": first.config["models"]}
    second = Stack(tmp_path, config, engines_run=True)
    try:
        second.start()
        found = chats(first)
        for table in ("responses", "holders"):
            wait_until(partial(agree, first, second, table), f"the second edge has heard of all {table}")
        for chat in found:
            chat.stack = second
        assert turns(found) - SLOW == {"home"}
        assert not strays(found)
    finally:
        second.stop()


def test_response_that_nobody_keeps_is_the_engines_to_refuse(start: Start) -> None:
    """An id that the edge has never seen goes like any other request, and the client hears what the engine says."""
    stack = start({"tiny": 2})
    answer = stack.post({"model": "tiny", "input": "go on", "previous_response_id": "resp_unknown"}, RESPONSES)
    assert (answer.status, answer.json["error"]["message"]) == (404, "no such response")


def test_id_deep_in_another_answer_is_not_taken_for_a_response(start: Start) -> None:
    """Only this path has responses; what chats are called is nothing to remember."""
    stack = start({"tiny": 2})
    table = partial(entries, stack.config["runtime_socket"], "responses")
    before = table()
    stack.chat("s", id="chatcmpl-1")
    assert table() == before
    Chat(stack, "one").turn()
    assert table() == before + 1


def test_chain_of_a_tenant_goes_on_without_a_router(start: Start, tmp_path: Path) -> None:
    """Ids count within one tenant, at the edge, too."""
    keys = tmp_path / "keys.map"
    keys.write_text("".join(f"{hashlib.sha256(key.encode()).hexdigest()} {key}|0|0|\n" for key in ("acme", "other")))
    tenants = [{"name": name, "requests_per_minute": 0, "concurrency": 0} for name in ("acme", "other")]
    mine, others = ({"authorization": f"Bearer {key}"} for key in ("acme", "other"))
    stack = start({"tiny": ENGINES}, headers=mine, auth={"keys_path": str(keys)}, tenants=tenants)
    found = chats(stack, **mine)
    stack.router.stop()
    assert turns(found) == {"fallback"}
    assert not strays(found)
    body = {"model": "tiny", "input": "whose is it?"}
    stolen = [stack.post(body | {"previous_response_id": chat.previous}, RESPONSES, **others) for chat in found]
    assert 404 in {answer.status for answer in stolen}
