"""What the edge cannot place goes through the router, byte for byte, and is treated like everything else."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.clients import Answer, head
from tests.support.processes import wait_until
from tests.support.stack import CHAT, Stack, edge_config

Start = Callable[..., Stack]
FAR = 300_000  # octets before the model: more than the buffer


def _late(model: str, **wish: object) -> bytes:
    """A body whose last word is its model."""
    return json.dumps({"messages": [{"role": "user", "content": "x" * FAR}], **wish, "model": model}).encode()


def _form(model: str, size: int) -> bytes:
    part = b'--XX\r\ncontent-disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    file = part % (b"file", b'; filename="speech.wav"\r\ncontent-type: audio/wav', b"\x00\xff" * (size // 2))
    return file + part % (b"model", b"", model.encode()) + b"--XX--\r\n"


def _speech(stack: Stack, model: str, size: int) -> Answer:
    kind = "multipart/form-data; boundary=XX"
    return stack.post(_form(model, size), "/v1/audio/transcriptions", content_type=kind)


def _leases(stack: Stack) -> float:
    metrics = stack.get("/metrics", int(stack.config["deciders"][0]["http"].rsplit(":", 1)[1])).body.decode()
    found = re.search(r"^ironrack_router_leases (\S+)$", metrics, re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize(("model", "engine"), [("tiny", "engine-tiny-"), ("org/big", "engine-org-big-")])
def test_model_behind_the_buffer_finds_its_engine(shared: Stack, model: str, engine: str) -> None:
    """The last word of a long body decides; the engine gets every byte, and nothing of what only we say."""
    body = _late(model)
    answer = shared.post(body, x_ironrack_tenant="me", x_request_id=f"late-{len(model)}")
    seen = answer.json
    assert (answer.status, seen["bytes"], seen["sha256"]) == (200, len(body), hashlib.sha256(body).hexdigest())
    assert answer.engine.startswith(engine)
    assert answer.engine == seen["engine"]
    assert answer.why in {"new", "home"}
    assert not [name for name in seen["headers"] if name.startswith("x-ironrack-")]
    line = shared.line(f"late-{len(model)}")
    assert (line["backend"], line["served"], line["model"]) == ("router-proxy", answer.engine, model)
    assert (line["why"], line["source"]) == (answer.why, "fingerprint")
    assert not [name for name in answer.headers if name.startswith("x-ironrack-")]
    wait_until(lambda: _leases(shared) == 0, "nothing is held any more")


@pytest.mark.parametrize("size", [1_000, 100_000, 2_000_000])
def test_speech_finds_its_model_whatever_the_size(shared: Stack, size: int) -> None:
    """A form's fields come in any order: small ones are placed by the edge, large ones read whole."""
    answer = _speech(shared, "org/big", size)
    assert (answer.status, answer.json["sha256"]) == (200, hashlib.sha256(_form("org/big", size)).hexdigest())
    assert answer.engine.startswith("engine-org-big-")
    assert answer.json["path"] == "/v1/audio/transcriptions"


def test_session_is_at_home_on_both_ways(shared: Stack) -> None:
    """The same session header, once with a late model and once with a short body: one home."""
    late = shared.post(_late("tiny"), x_session_id="both-ways")
    wait_until(lambda: _leases(shared) == 0, "the first is over for the router, too")
    short = shared.post(shared.question(), x_session_id="both-ways")
    assert (short.engine, short.why) == (late.engine, "home")


def test_unknown_model_behind_the_buffer_is_told(shared: Stack) -> None:
    """The router's words, through the edge."""
    answer = shared.post(_late("none"))
    assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")
    assert answer.headers["x-error-source"] == "router"


def test_first_event_passes_before_the_engine_sends_the_last(shared: Stack) -> None:
    """Two hops hold nothing back."""
    body = _late("tiny", chunks=4, gap=0.3)
    with socket.create_connection(("127.0.0.1", shared.port), timeout=10) as sock:
        sock.sendall(head(CHAT, f"content-length: {len(body)}") + body)
        response = http.client.HTTPResponse(sock)
        response.begin()
        arrived = []
        while piece := response.read1():
            arrived.append((piece, time.monotonic()))
        response.close()
    assert b"".join(piece for piece, _ in arrived) == b"".join(b"data: %d\n\n" % index for index in range(4))
    assert arrived[-1][1] - arrived[0][1] > 0.6


@pytest.mark.parametrize("wish", [{"delay": 30}, {"chunks": 100, "gap": 0.3}], ids=["before", "streaming"])
def test_client_that_leaves_is_seen_through_the_router(shared: Stack, wish: dict[str, object]) -> None:
    """The engine stops within a second, before the first byte and in the middle of a stream."""
    requests, aborted = shared.total("requests"), shared.total("aborted")
    body = _late("tiny", **wish)
    sock = socket.create_connection(("127.0.0.1", shared.port), timeout=10)
    sock.sendall(head(CHAT, f"content-length: {len(body)}") + body)
    wait_until(lambda: shared.total("requests") == requests + 1, "the engine has the request")
    if "chunks" in wish:
        assert sock.recv(4096)
    sock.close()
    wait_until(lambda: shared.total("aborted") == aborted + 1, "the engine sees the abort", seconds=1)
    wait_until(lambda: _leases(shared) == 0, "nothing is held any more")


@pytest.mark.parametrize("how", ["reset", "headers", "503"])
def test_engine_that_fails_before_its_first_byte_is_not_the_clients_problem(start: Start, how: str) -> None:
    """Another engine answers, and the answer says so."""
    stack = start({"tiny": 2, "org/big": 1})
    home = stack.post(_late("tiny"), x_session_id="s").engine
    answer = stack.post(_late("tiny", fail_on=[home], how=how), x_session_id="s")
    assert (answer.status, answer.why) == (200, "retry")
    assert answer.engine != home


def test_stream_that_breaks_off_is_not_made_whole(start: Start) -> None:
    """Half an answer ends as one: neither the router nor the edge adds an end to it."""
    stack = start({"tiny": 1, "org/big": 1})
    body = _late("tiny", chunks=5, fail_on=["engine-tiny-0"], how="mid")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        stack.post(body)


def test_one_model_is_asked_for_by_its_name(shared: Stack) -> None:
    """GET /v1/models/{name}, with slashes in the name; other verbs are told."""
    answer = shared.get("/v1/models/org/big")
    assert (answer.status, answer.json["id"], answer.json["owned_by"]) == (200, "org/big", "ironrack")
    assert shared.get("/v1/models/none").status == 404
    assert shared.post({}, "/v1/models/org/big").status == 405
    assert {model["id"] for model in shared.get("/v1/models").json["data"]} == {"tiny", "org/big"}


def test_client_says_nothing_that_only_the_edge_may_say(start: Start) -> None:
    """Where requests differ in urgency every one carries the edge's word, and vLLM's own header goes nowhere."""
    stack = start({"tiny": 1, "org/big": 1}, priorities=True)
    said = {"x_vllm_priority": "-9", "x_ironrack_priority": "-9"}
    for body in (json.dumps(stack.question()).encode(), _late("tiny")):
        seen = stack.post(body, **said).json["headers"]
        assert "x-vllm-priority" not in seen
        assert seen["x-ironrack-priority"] == "0"


def test_other_names_lead_to_the_model_while_the_router_is_away(tmp_path: Path) -> None:
    """The edge knows aliases and adapters, too."""
    config = edge_config({"tiny": 1, "org/big": 1})
    config["models"][1]["names"] = ["org/big", "large", "sql"]
    with ExitStack() as ending:
        stack = Stack(tmp_path, config)
        ending.callback(stack.stop)
        stack.start()
        stack.router.signal(signal.SIGKILL)
        for name in ("large", "sql"):
            answer = stack.post({**stack.question(), "model": name})
            assert (answer.status, answer.why) == (200, "fallback")
            assert answer.engine == "engine-org-big-0"
