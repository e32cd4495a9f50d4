"""What the edge makes of each thing a router can say, and what it tells the router."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.clients import Answer
from tests.support.decider import Decider, Variables
from tests.support.processes import wait_until
from tests.support.stack import Stack, edge_config

Told = Callable[..., tuple[Stack, Decider]]
CHOSEN: Variables = {
    "server": "engine-tiny-1",
    "backend": "model-tiny",
    "model": "tiny",
    "why": "spill",
    "stick": b"01234567",
    "source": "user",
}


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    """An edge with two engines and a router that says what the test wants."""
    with contextlib.ExitStack() as ends:

        def build(wait_seconds: float = 0.0, **answers: Variables) -> tuple[Stack, Decider]:
            stack = Stack(tmp_path, edge_config({"tiny": 2}))
            decider = Decider(int(stack.config["router"]["spop"].rpartition(":")[2]), answers, wait_seconds)
            ends.callback(stack.stop)
            decider.start()
            ends.callback(decider.stop)
            for child in stack.engines.values():
                child.start()
            wait_until(lambda: all(stack.stats(engine) is not None for engine in stack.engines), "the engines listen")
            stack.edge.start()
            wait_until(partial(_asks, stack, decider), "the edge asks the router")
            return stack, decider

        yield build


def _asks(stack: Stack, decider: Decider) -> bool:
    stack.chat()
    return bool(decider.of("ask")) and stack.get("/ready").status == 200


def test_request_goes_where_the_router_says(told: Told) -> None:
    """The named engine serves, and the log says who decided, for whom."""
    stack, decider = told(ask=CHOSEN)
    answer = stack.post(stack.question(), x_priority_class="batch")
    assert (answer.engine, answer.why) == ("engine-tiny-1", "spill")
    line = stack.line(answer.headers["x-request-id"])
    assert (line["decider"], line["tenant"], line["class"], line["source"]) == (0, "-", "batch", "user")
    assert decider.of("ask")[-1]["class"] == "batch"


def test_nobody_decided_is_minus_one(told: Told) -> None:
    """A router that says nothing leaves the decision to the edge, and the log says so."""
    stack, _ = told()
    answer = stack.chat()
    assert (answer.status, answer.why) == (200, "fallback")
    assert stack.line(answer.headers["x-request-id"])["decider"] == -1


@pytest.mark.parametrize("status", [400, 403, 404, 413, 429, 500, 503])
def test_refusal_reaches_the_client_in_the_routers_words(told: Told, status: int) -> None:
    """Status, body and the time to wait are the router's; no engine sees the request."""
    stack, _ = told(ask={"status": status, "body": '{"error": 1}', "why": "refused", "retry_after": 7})
    answer = stack.chat()
    assert (answer.status, answer.body, answer.headers["x-error-source"]) == (status, b'{"error": 1}', "router")
    assert answer.headers.get("retry-after") == ("7" if status in {429, 503} else None)
    assert stack.line(answer.headers["x-request-id"])["why"] == "refused"


def test_status_nobody_foresaw_is_a_500(told: Told) -> None:
    """A refusal the edge has no line for is a refusal all the same."""
    stack, _ = told(ask={"status": 418, "body": "{}"})
    assert stack.chat().status == 500


def test_priority_is_told_to_the_engine_and_only_by_us(told: Told) -> None:
    """The engine reads the router's number; a client's own is removed, as is all that begins like our headers."""
    stack, _ = told(ask={**CHOSEN, "priority": 5})
    heard = _headers(stack.post(stack.question(), x_ironrack_priority="-99", x_ironrack_cache_salt="mine"))
    assert {name: value for name, value in heard.items() if name.startswith("x-ironrack")} == {
        "x-ironrack-priority": "5"
    }


def test_client_names_no_priority_of_its_own(told: Told) -> None:
    """Without a word from the router there is no such header."""
    stack, _ = told(ask=CHOSEN)
    assert "x-ironrack-priority" not in _headers(stack.post(stack.question(), x_ironrack_priority="-99"))


def test_spent_retry_budget_ends_at_the_first_failure(told: Told) -> None:
    """With retry=0 a failed engine's answer is what the client gets; without it another engine serves."""
    stack, decider = told(ask=CHOSEN)
    assert stack.chat(fail_on=["engine-tiny-1"], how="503").status == 200
    decider.answers["ask"] = {**CHOSEN, "retry": 0}
    assert stack.chat(fail_on=["engine-tiny-1"], how="503").status == 503


def test_full_fleet_waits_for_the_admission(told: Told) -> None:
    """`wait` makes the edge ask again and wait far longer than for a decision."""
    stack, decider = told(1.0, ask={"wait": 1}, admit=CHOSEN)
    answer = stack.chat()
    assert (answer.status, answer.engine, answer.why) == (200, "engine-tiny-1", "spill")
    assert decider.of("admit")[-1]["lease"] == stack.line(answer.headers["x-request-id"])["lease"]


def test_admission_can_be_refused(told: Told) -> None:
    """Who waited in vain is told so by the router."""
    stack, _ = told(0.7, ask={"wait": 1}, admit={"status": 429, "body": "{}", "retry_after": 3})
    answer = stack.chat()
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")


def test_silent_admission_is_decided_by_the_edge(told: Told) -> None:
    """A router that never comes back to a waiting request costs its time, not the request."""
    stack, _ = told(ask={"wait": 1})
    assert stack.chat().why == "fallback"


def test_response_id_is_told_to_the_router(told: Told) -> None:
    """Of /v1/responses the beginning of the answer goes along, so that a next one can follow it; of others not."""
    stack, decider = told(ask=CHOSEN)
    answer = stack.post({"model": "tiny", "input": "hello"}, "/v1/responses")
    wait_until(lambda: bool(decider.of("begun")), "the router hears of the first byte")
    said = [arguments["head"] for arguments in decider.of("begun") if arguments["head"]]
    assert said == [answer.body[:512]]


def test_request_for_the_proxy_goes_to_it(told: Told) -> None:
    """What only Python can serve goes to the router's own listener, with who asked and under which lease."""
    stack, decider = told(ask={"proxy": 1})
    assert stack.chat().status == 503
    line = stack.lines()[-1]
    assert (line["backend"], line["decider"]) == ("router-proxy", -1)
    assert decider.of("ask")


def _headers(answer: Answer) -> dict[str, str]:
    found: dict[str, str] = answer.json["headers"]
    return found


def test_session_the_edge_remembers_is_retried_like_any_other(told: Told) -> None:
    """A home that the edge's table knew and that fails before its first byte is left for another engine."""
    stack, _ = told(ask={**CHOSEN, "why": "new"})
    home = stack.chat()
    answer = stack.chat(fail_on=[home.engine], how="503")
    assert (home.why, answer.status, answer.why) == ("home", 200, "retry")
    assert answer.engine != home.engine


def test_whole_answer_is_told_of_once(told: Told) -> None:
    """The access line of an answer that is here at once follows in a moment; a stream's beginning is news."""
    stack, decider = told(ask=CHOSEN)
    before = len(decider.of("begun"))
    for _ in range(5):
        assert stack.chat().status == 200
    assert len(decider.of("begun")) == before
    assert stack.chat(chunks=3).status == 200
    wait_until(lambda: len(decider.of("begun")) == before + 1, "the router hears of the first byte")


def test_model_that_was_allowed_is_told_to_the_engine(told: Told) -> None:
    """Where a tenant may not use everything, the engine takes the router's word for the model, never a client's."""
    stack, decider = told(ask={**CHOSEN, "asked": "tiny"})
    assert stack.post(stack.question(), x_ironrack_model="other").json["headers"]["x-ironrack-model"] == "tiny"
    decider.answers = {"ask": CHOSEN}
    assert "x-ironrack-model" not in stack.post(stack.question(), x_ironrack_model="other").json["headers"]
