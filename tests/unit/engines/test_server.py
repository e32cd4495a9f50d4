"""The engine over real HTTP, in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, FormData, web
from prometheus_client.parser import text_string_to_metric_families

from tests.engines.config import from_argv
from tests.engines.engine import Engine
from tests.engines.server import application
from tests.support.until import until

CHAT: dict[str, object] = {"model": "sim", "messages": [{"role": "user", "content": "tell me all " * 40}]}


class Running:
    """An engine with a client that knows its address."""

    def __init__(self, engine: Engine, client: ClientSession) -> None:
        self.engine = engine
        self.client = client

    async def ask(self, path: str, **body: object) -> tuple[int, bytes]:
        async with self.client.post(path, json={**CHAT, **body}) as response:
            return response.status, await response.read()

    async def order(self, **order: object) -> int:
        async with self.client.post("/sim", json=order) as response:
            return response.status


@asynccontextmanager
async def running(*argv: str) -> AsyncIterator[Running]:
    config = from_argv(["--name", "engine-sim-0", "--port", "0", "--model", "sim", "--decode-seconds", "0.001", *argv])
    engine = Engine(config)
    runner = web.AppRunner(application(engine), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with ClientSession(f"http://{host}:{port}") as client:
            yield Running(engine, client)
    finally:
        await runner.cleanup()


def frames(raw: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in raw.split(b"\n") if line.startswith(b"data: ")]
    return [msgspec.json.decode(line) for line in lines if line != b"[DONE]"]


async def test_chat_stream_has_role_text_reason_usage_and_done() -> None:
    """A streamed chat answer has vLLM's frames in vLLM's order."""
    async with running() as engine:
        status, raw = await engine.ask("/v1/chat/completions", stream=True, stream_options={"include_usage": True})
    found = frames(raw)
    choices = [frame["choices"] for frame in found]
    assert status == 200
    assert raw.endswith(b"data: [DONE]\n\n")
    assert choices[0][0]["delta"] == {"role": "assistant", "content": ""}
    assert choices[-2][0]["finish_reason"] == "stop"
    assert choices[-1] == []
    assert found[-1]["usage"]["completion_tokens"] == 16


async def test_stream_and_whole_answer_say_the_same() -> None:
    """Streaming changes the form of an answer, not its text."""
    async with running() as engine:
        _, whole = await engine.ask("/v1/completions", prompt="one prompt")
        _, stream = await engine.ask("/v1/completions", prompt="one prompt", stream=True)
    pieces = [frame["choices"][0]["text"] for frame in frames(stream)]
    assert "".join(pieces) == msgspec.json.decode(whole)["choices"][0]["text"]


@pytest.mark.parametrize(
    ("body", "said", "reason"),
    [
        ({}, 16, "stop"),
        ({"max_tokens": 4}, 4, "length"),
        ({"max_tokens": 400}, 16, "stop"),
        ({"max_tokens": 40, "ignore_eos": True}, 40, "length"),
    ],
)
async def test_answer_length_follows_the_limit_and_ignore_eos(body: dict[str, object], said: int, reason: str) -> None:
    """A limit cuts an answer, and only `ignore_eos` makes it longer than the model would."""
    async with running() as engine:
        _, raw = await engine.ask("/v1/chat/completions", **body)
    answer = msgspec.json.decode(raw)
    assert (answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]) == (said, reason)


async def test_responses_stream_numbers_its_events_and_ends_completed() -> None:
    """Events are numbered without a gap, from created to completed."""
    async with running() as engine:
        _, raw = await engine.ask("/v1/responses", input="hello", stream=True)
    found = frames(raw)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert (found[0]["type"], found[-1]["type"]) == ("response.created", "response.completed")


async def test_previous_response_continues_from_the_cache_and_unknown_is_404() -> None:
    """Only the engine that answered can go on from a response id."""
    async with running() as engine:
        _, raw = await engine.ask("/v1/responses", input="hello " * 100)
        first = msgspec.json.decode(raw)
        _, raw = await engine.ask("/v1/responses", input="go on", previous_response_id=first["id"])
        status, _ = await engine.ask("/v1/responses", input="go on", previous_response_id="resp_unknown")
    assert msgspec.json.decode(raw)["usage"]["input_tokens_details"]["cached_tokens"] >= 144
    assert status == 404


async def test_messages_stream_has_anthropics_events() -> None:
    """The messages API speaks Anthropic's shape."""
    async with running() as engine:
        _, raw = await engine.ask("/v1/messages", max_tokens=2, stream=True)
    kinds = [event["type"] for event in frames(raw)]
    delta = ["content_block_delta"] * 2
    expected = ["message_start", "content_block_start", *delta, "content_block_stop", "message_delta", "message_stop"]
    assert kinds == expected


async def test_request_id_of_the_proxy_names_the_answer() -> None:
    """An id given in a header is the answer's id, as in vLLM."""
    async with (
        running() as engine,
        engine.client.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "r1"}) as response,
    ):
        assert (await response.json())["id"] == "chatcmpl-r1"


async def test_headers_of_a_stream_leave_before_the_first_token() -> None:
    """Headers say that a request was accepted, not that anything was computed."""
    async with running() as engine:
        await engine.order(freeze=True)
        async with engine.client.post("/v1/chat/completions", json={**CHAT, "stream": True}) as response:
            assert response.status == 200
            assert engine.engine.scheduler.running == []
            await engine.order(freeze=False)
            assert (await response.read()).endswith(b"data: [DONE]\n\n")


async def test_held_headers_come_with_the_first_token() -> None:
    """Told so, an engine says nothing before it has something to say."""
    async with running("--hold-headers") as engine:
        await engine.order(freeze=True)
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(engine.client.post("/v1/chat/completions", json={**CHAT, "stream": True}))
            await until(lambda: engine.engine.counters.requests == 1, "the request is there")
            await engine.order(refuse="")
            assert not asking.done()
            await engine.order(freeze=False)
        assert (await asking.result().read()).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
async def test_a_client_that_leaves_aborts_its_request(stream: bool, frozen: bool) -> None:
    """Streamed or not, computing or frozen: the sequence is gone when its client is."""
    async with running("--decode-seconds", "0.05") as engine:
        await engine.order(freeze=frozen)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await engine.ask("/v1/chat/completions", stream=stream, max_tokens=1_000, ignore_eos=True)
        await until(lambda: engine.engine.counters.aborted == 1, "the abort is seen")
        assert engine.engine.scheduler.cache.used == 0
        assert engine.engine.scheduler.running == []


async def test_frozen_engine_says_it_is_healthy() -> None:
    """Health knows nothing of progress, as in vLLM, unless told otherwise."""
    async with running() as engine:
        await engine.order(freeze=True)
        async with engine.client.get("/health") as response:
            assert response.status == 200
        await engine.order(health="503")
        async with engine.client.get("/health") as response:
            assert response.status == 503


async def test_refusal_has_the_status_it_was_told() -> None:
    """A refusing engine answers every inference request with one status, and goes back to work when told."""
    async with running() as engine:
        await engine.order(refuse="503")
        refused, _ = await engine.ask("/v1/chat/completions")
        await engine.order(refuse="")
        served, _ = await engine.ask("/v1/chat/completions")
    assert (refused, served) == (503, 200)


async def test_bad_orders_are_named_all_at_once() -> None:
    """An order with two mistakes changes nothing and names both."""
    async with running() as engine:
        async with engine.client.post("/sim", json={"freeze": "yes", "slow": 0}) as response:
            text = await response.text()
            assert response.status == 400
        assert not engine.engine.faults.freeze
    assert "freeze" in text
    assert "slow" in text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"model": "other"}, 404),
        ("/v1/chat/completions", {"messages": []}, 400),
        ("/v1/chat/completions", {"max_tokens": 0}, 400),
        ("/v1/chat/completions", {"max_tokens": 10_000_000, "ignore_eos": True}, 400),
        ("/v1/completions", {"prompt": None}, 400),
        ("/v1/messages", {}, 400),
    ],
)
async def test_requests_vllm_refuses_are_refused(path: str, body: dict[str, object], status: int) -> None:
    """Bad requests get vLLM's status and error shape."""
    async with running() as engine:
        found, raw = await engine.ask(path, **body)
    assert found == status
    assert msgspec.json.decode(raw)["error"]["code"] == status


async def test_metrics_have_vllms_names_and_count_tokens() -> None:
    """A scrape shows queries and hits in tokens, and the size of the cache."""
    async with running("--cache-tokens", "4096") as engine:
        for _ in range(2):
            await engine.ask("/v1/chat/completions")
        async with engine.client.get("/metrics") as response:
            text = await response.text()
    samples = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    prompt = samples["vllm:prompt_tokens_total"].value
    assert samples["vllm:prefix_cache_queries_total"].value == prompt
    assert samples["vllm:prefix_cache_hits_total"].value == pytest.approx(prompt / 2, abs=16)
    assert samples["vllm:generation_tokens_total"].value == 32
    assert samples["vllm:time_to_first_token_seconds_count"].value == 2
    assert samples["vllm:cache_config_info"].labels["kv_cache_size_tokens"] == "4096"
    assert {"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"} <= samples.keys()
    assert "process_start_time_seconds" in samples


async def test_speech_is_a_form_with_a_file() -> None:
    """The file's bytes are heard, whole or streamed; another model is not served."""
    async with running() as engine:
        for model, stream, status, part in (
            ("sim", "false", 200, b"3000 bytes heard"),
            ("sim", "true", 200, b"data: [DONE]"),
            ("other", "false", 404, b"does not exist"),
        ):
            form = FormData({"model": model, "stream": stream})
            form.add_field("file", bytes(3000), filename="speech.wav", content_type="audio/wav")
            async with engine.client.post("/v1/audio/transcriptions", data=form) as response:
                assert (response.status, part in await response.read()) == (status, True)
