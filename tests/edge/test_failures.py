"""Engines and the router fail; clients must not notice more than they have to."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.clients import Answer
from tests.support.processes import wait_until
from tests.support.stack import Stack, edge_config

Start = Callable[..., Stack]
SESSIONS = [f"session-{index}" for index in range(24)]


@contextlib.contextmanager
def load(stack: Stack, **wish: object) -> Iterator[list[Answer | Exception]]:
    """Sessions talk without a pause while the block runs; afterwards the list holds every answer or error."""
    answers: list[Answer | Exception] = []
    stop = threading.Event()

    def talk(session: str) -> None:
        while not stop.is_set():
            try:
                answers.append(stack.chat(session, **wish))
            except (OSError, http.client.HTTPException) as error:
                answers.append(error)

    with ThreadPoolExecutor(8) as pool:
        for session in SESSIONS[:8]:
            pool.submit(talk, session)
        try:
            wait_until(lambda: len(answers) >= 20, "load")
            yield answers
        finally:
            stop.set()


def failed(answers: list[Answer | Exception]) -> list[Answer | Exception]:
    """What a client would call a failure."""
    return [answer for answer in answers if isinstance(answer, Exception) or answer.status != 200]


def more(answers: list[Answer | Exception], count: int = 40) -> None:
    """Wait for more answers of a running load."""
    goal = len(answers) + count
    wait_until(lambda: len(answers) >= goal, "the load goes on")


@pytest.mark.parametrize("how", ["reset", "junk", "503"])
def test_failure_before_the_first_byte_is_served_by_another_engine(start: Start, how: str) -> None:
    """The client gets an answer, and the header says that it is not from the chosen engine."""
    stack = start({"tiny": 3})
    chosen = stack.chat("s").engine
    answer = stack.chat("s", fail_on=[chosen], how=how)
    assert (answer.status, answer.why) == (200, "retry")
    assert answer.engine != chosen
    line = stack.line(answer.headers["x-request-id"])
    assert (line["chosen"], line["server"], line["retries"]) == (chosen, answer.engine, "+1")


def test_failure_of_every_engine_ends_after_the_retries(start: Start) -> None:
    """A request that breaks engines is not sent around for ever."""
    stack = start({"tiny": 2}, retries=2)
    answer = stack.chat("s", fail_on=list(stack.engines), how="reset")
    assert (answer.status, answer.headers["x-error-source"]) == (502, "edge")
    assert answer.json["error"]["type"] == "edge_bad_gateway_error"
    assert stack.total("failed_reset") == 3


def test_server_error_of_the_engine_is_not_retried(start: Start) -> None:
    """A 500 is an answer: sending the request again could cost another engine the same."""
    stack = start()
    answer = stack.chat("s", fail_on=list(stack.engines), how="500")
    assert (answer.status, stack.total("failed_500")) == (500, 1)


def test_engine_killed_under_load_costs_nothing_before_the_first_byte(start: Start) -> None:
    """Requests that wait for a killed engine's headers, and all later ones, are answered by others."""
    stack = start({"tiny": 3})
    with load(stack, delay=0.05) as answers:
        stack.kill(stack.chat(SESSIONS[0]).engine)
        more(answers)
    assert not failed(answers)


def test_two_engines_killed_at_once_under_load_cost_nothing(start: Start) -> None:
    """A retry does not go from one dead engine to the other and back."""
    stack = start({"tiny": 4})
    first, second, *_ = stack.engines
    with load(stack, delay=0.05) as answers:
        stack.kill(first)
        stack.kill(second)
        more(answers)
    assert not failed(answers)


def test_engine_killed_mid_stream_breaks_the_stream_off(start: Start) -> None:
    """A cut stream must not look like a finished one, and is never started again elsewhere."""
    stack = start()
    chosen = stack.chat("s").engine
    before = stack.total("requests")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        stack.chat("s", fail_on=[chosen], how="mid", chunks=10)
    assert stack.total("requests") == before + 1


def test_engine_that_never_answers_is_a_504_that_says_so(start: Start) -> None:
    """After the time that an answer may take, in the edge's words; nobody else is asked for what takes so long."""
    stack = start(timeouts={**edge_config({"tiny": 1})["timeouts"], "server_seconds": 1})
    before = stack.total("requests")
    answer = stack.chat(delay=60)
    assert (answer.status, answer.json["error"]["code"]) == (504, "engine_timeout")
    assert answer.headers["x-error-source"] == "edge"
    assert stack.total("requests") == before + 1


def test_engine_that_dies_between_headers_and_first_byte_is_a_502(start: Start) -> None:
    """Headers alone are not an answer yet: the client gets a status it can retry on, not an empty stream."""
    stack = start()
    answer = stack.chat("s", fail_on=list(stack.engines), how="headers")
    assert (answer.status, answer.json["error"]["code"]) == (502, "bad_gateway")


def test_no_engine_is_503_with_retry_after(start: Start) -> None:
    """With every engine gone, router or not, the answer says to come again."""
    stack = start()
    for engine in stack.engines:
        stack.kill(engine)
    wait_until(lambda: stack.chat().status == 503, "503")
    answer = stack.chat()
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json["error"]["type"].endswith("_service_unavailable_error")
    stack.router.stop()
    answer = stack.chat()
    assert (answer.status, answer.headers["x-error-source"], answer.headers["retry-after"]) == (503, "edge", "1")
    assert stack.get("/ready").status == 503
    assert stack.get("/health").status == 200


def homes(stack: Stack, **body: object) -> dict[str, str]:
    """Where each session is served now, named by header or, with `field`, by that field of the body."""
    if field := str(body.get("field", "")):
        return {session: stack.chat(**{field: session}).engine for session in SESSIONS}
    return {session: stack.chat(session).engine for session in SESSIONS}


@pytest.mark.parametrize("named_by", ["header", "prompt_cache_key", "user"])
def test_sessions_stay_home_when_the_router_dies(start: Start, named_by: str) -> None:
    """The edge remembers where each session was served, by the same key as the router."""
    stack = start({"tiny": 4})
    body = {} if named_by == "header" else {"field": named_by}
    before = homes(stack, **body)
    stack.router.stop()
    assert homes(stack, **body) == before
    assert stack.chat(SESSIONS[0]).why == "fallback"


def test_new_sessions_get_a_home_while_the_router_is_away(start: Start) -> None:
    """A session nobody has seen is hashed, and stays where that put it; many sessions use all engines."""
    stack = start({"tiny": 4})
    stack.router.stop()
    first = homes(stack)
    assert homes(stack) == first
    assert set(first.values()) == set(stack.engines)


def test_conversation_without_a_name_stays_home_while_the_router_is_away(start: Start) -> None:
    """How a conversation began names it: later turns of it go to the same engine."""
    stack = start({"tiny": 4})
    stack.router.stop()
    served = set()
    for turns in range(1, 5):
        messages = [{"role": "user", "content": f"turn {turn}"} for turn in range(turns)]
        served.add(stack.chat(messages=messages).engine)
    assert len(served) == 1


def test_router_killed_under_load_costs_no_request_and_takes_over_again(start: Start) -> None:
    """Killed, the edge decides alone; back, the router decides again."""
    stack = start({"tiny": 4})
    with load(stack) as answers:
        stack.router.stop()
        more(answers)
        stack.router.start()
        stack.until_decided()
        more(answers)
    assert not failed(answers)
    assert {answer.why for answer in answers if isinstance(answer, Answer)} > {"fallback"}


def test_router_frozen_under_load_costs_no_request(start: Start) -> None:
    """Frozen, the router costs a few requests the decision's time limit, then nothing until it runs again."""
    stack = start({"tiny": 4})
    with load(stack) as answers:
        with stack.router.frozen():
            more(answers, 200)
        stack.until_decided()
    assert not failed(answers)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_router_known_to_be_gone_costs_no_waiting(start: Start, number: signal.Signals) -> None:
    """Once the edge knows, it asks no more: twenty requests together wait less than one decision might take."""
    stack = start(timeouts=edge_config({})["timeouts"] | {"decide_milliseconds": 5000})
    stack.router.signal(number)
    wait_until(lambda: _seconds(stack.chat) < 1, "the edge knows that the router is gone")
    assert sum(_seconds(stack.chat) for _ in range(20)) < 5


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_sessions_come_home_to_a_router_that_started_again(start: Start) -> None:
    """A new router knows nobody; the edge's table does, and the router learns from what was served."""
    stack = start({"tiny": 4})
    before = homes(stack)
    stack.router.stop()
    stack.router.start()
    wait_until(lambda: stack.chat("probe").why != "fallback", "the router decides again")
    assert homes(stack) == before
    assert homes(stack) == before
    assert stack.chat(SESSIONS[0]).why == "home"


def test_engine_comes_back_into_the_fallback(start: Start) -> None:
    """Without the router, the edge's own health checks take an engine out and in; its sessions come home."""
    stack = start({"tiny": 2})
    before = homes(stack)
    stack.router.stop()
    gone = stack.chat(SESSIONS[0]).engine
    stack.kill(gone)
    assert {*homes(stack).values()} == {*stack.engines} - {gone}
    stack.engines[gone].start()
    new = (f"new-{index}" for index in range(10_000))
    wait_until(lambda: stack.chat(next(new)).engine == gone, "the engine serves new sessions")
    assert {*before.values()} == {*stack.engines}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "nope", "messages": []}, 404, "model_not_found"),
        ({"messages": []}, 400, "missing_model"),
    ],
)
def test_wrong_model_is_refused_without_the_router(
    start: Start, body: dict[str, object], status: int, code: str
) -> None:
    """With several models the edge itself must know which one is meant."""
    stack = start({"tiny": 1, "org/big": 1})
    stack.router.stop()
    answer = stack.post(body, x_request_id="edge-1")
    assert (answer.status, answer.json["error"]["code"], answer.json["request_id"]) == (status, code, "edge-1")
    assert answer.headers["x-error-source"] == "edge"
    assert stack.post(stack.question(model="org/big")).engine == "engine-org-big-0"


def test_model_beyond_the_buffer_is_a_413_that_says_so_without_the_router(start: Start) -> None:
    """Nobody can see a model name after the buffer's end: the answer says where to put it."""
    stack = start({"tiny": 1, "org/big": 1})
    stack.router.stop()
    late = b'{"messages": [], "pad": "' + b"x" * 300_000 + b'", "model": "tiny"}'
    early = json.dumps(stack.question(pad="x" * 300_000)).encode()
    answer = stack.post(late)
    assert (answer.status, answer.json["error"]["code"]) == (413, "model_beyond_buffer")
    assert stack.post(early).engine == "engine-tiny-0"


def test_list_of_models_survives_the_router(start: Start) -> None:
    """Without the router an engine's own list answers, at once."""
    stack = start()
    stack.router.stop()
    assert [stack.get("/v1/models").status for _ in range(5)] == [200] * 5


def test_reload_keeps_open_streams(start: Start) -> None:
    """A new configuration is taken while streams run on: none is cut, new requests are served."""
    stack = start()
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(stack.chat, "s", chunks=10, gap=0.2)
        wait_until(lambda: stack.total("requests") > 1, "the stream runs")
        assert stack.edge.process is not None
        stack.edge.process.send_signal(signal.SIGUSR2)
        with load(stack) as answers:
            more(answers)
        assert stream.result().body.count(b"data:") == 10
    assert not failed(answers)
