"""An engine says nothing for a while in the middle of a stream: only the time that an answer may take ends it."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from tests.support.lab import Lab, started
from tests.support.load import conversations, load
from tests.support.until import until

pytestmark = pytest.mark.lab

# Every other timeout is as short as the stack takes it. What a client may take follows from the engine's.
SHORT = ("request", "keep_alive", "connect", "pool_idle", "queue", "check_interval")
TIMEOUTS = [*(f"{name}_seconds=1" for name in SHORT), "server_seconds=5"]
ANSWER_TOKENS = 100


async def test_a_pausing_stream_outlives_all_other_timeouts_and_a_silent_one_is_cut(tmp_path: Path) -> None:
    """Two streams stop: one goes on when the edge has given up who came later and said nothing, one never does."""
    options = tuple(word for timeout in TIMEOUTS for word in ("--timeout", timeout))
    with started(tmp_path / "lab", 2, "--decode-seconds", "0.05", lab_options=options) as report:
        turns = load(str(report["endpoint"]), str(report["model"]), max_tokens=ANSWER_TOKENS, ignore_eos=True)
        async with ClientSession() as client, turns as asking:
            lab = Lab(tmp_path / "lab", report, client)
            await until(lab.all_ready, "every engine is ready", 30)
            async with asyncio.TaskGroup() as group:
                streams = [group.create_task(asking.turn(talk)) for talk in conversations(2, "s")]
                await until(lambda: _flow(lab), "both streams have begun, each at an engine")
                for engine in lab.engines:
                    await lab.sim(engine, freeze=True)
                await _given_up(lab.endpoint)
                assert not any(stream.done() for stream in streams)
                going_on, silent = lab.engines
                await lab.sim(going_on, freeze=False, slow=0.02)
            ends = {stream.result().served_by: stream.result().end for stream in streams}
            assert ends == {going_on: "ok", silent: "cut"}
            await until(lambda: _cut_at(lab, silent), "it is counted as broken off by its engine")
            await until(lab.idle, "no load is left at the router", 30)


async def _flow(lab: Lab) -> bool:
    """Whether each engine has a request whose first byte has passed the edge."""
    return all(one["in_flight"] == 1 and not one["uncached_tokens"] for one in (await lab.fleet()).values())


async def _cut_at(lab: Lab, engine: str) -> bool:
    counted = {name: await lab.metric("ironrack_router_truncated_streams_total", engine=name) for name in lab.engines}
    return counted == {name: float(name == engine) for name in lab.engines}


async def _given_up(endpoint: str) -> None:
    """Begin a request, do not go on, and return when the edge has closed the connection."""
    edge = urlsplit(endpoint)
    reader, writer = await asyncio.open_connection(edge.hostname, edge.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"408" in await reader.read()
    writer.close()
    await writer.wait_closed()
