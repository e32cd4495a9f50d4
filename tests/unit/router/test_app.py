"""The wired router over real sockets: questions, events, bad peers, start and end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from router.app import Addresses, Router
from router.config import check, split_address
from router.spop import Value
from router.spop_wire import (
    ACK,
    AGENT_DISCONNECT,
    AGENT_HELLO,
    HAPROXY_HELLO,
    NOTIFY,
    write_frame,
    write_settings,
    write_text,
    write_uint32,
    write_value,
)
from tests.support.processes import free_ports
from tests.support.until import until

BODY = json.dumps({"messages": [{"role": "user", "content": "hello"}], "model": "tiny"}).encode()
HELLO = write_settings(
    HAPROXY_HELLO,
    {
        "supported-versions": write_value("2.0"),
        "max-frame-size": write_uint32(65_532),
        "capabilities": write_value("pipelining"),
    },
)


def ask(number: int) -> bytes:
    arguments: dict[str, Value] = {
        "id": f"id-{number}",
        "method": "POST",
        "path": "/v1/chat/completions",
        "content_type": "application/json",
        "session": f"s-{number}",
        "source": "x-session-id",
        "tenant": "-",
        "size": len(BODY),
        "body": BODY,
    }
    pairs = b"".join(write_text(key) + write_value(value) for key, value in arguments.items())
    return write_frame(NOTIFY, number, 1, write_text("ask") + bytes((len(arguments),)) + pairs)


def settings(engine: str, **listen: str) -> dict[str, Any]:
    return {
        "listen": {"spop": "127.0.0.1:0", "http": "127.0.0.1:0", "events": "127.0.0.1:0"} | listen,
        "models": [{"name": "tiny", "backend": "model-tiny"}],
        "engines": [{"name": "engine-a", "url": engine, "model": "tiny"}],
        "sessions": {"headers": ["x-session-id"]},
        "health": {"interval_seconds": 0.1, "timeout_seconds": 1},
    }


class Running:
    """A router that serves, and ways to talk to it."""

    def __init__(self, router: Router, addresses: Addresses, http: aiohttp.ClientSession) -> None:
        self.router = router
        self.addresses = addresses
        self.http = http

    async def connect(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*split_address(address))

    async def get(self, path: str) -> tuple[int, str]:
        async with self.http.get(f"http://{self.addresses.http}{path}") as answer:
            return answer.status, await answer.text()


async def frame(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


async def ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(20):
        return await reader.read() == b""


async def reset(reader: asyncio.StreamReader) -> None:
    """Await an end that HAProxy cannot overlook."""
    async with asyncio.timeout(20):
        with pytest.raises(ConnectionResetError):
            await reader.read()


@asynccontextmanager
async def serving(raw: dict[str, Any]) -> AsyncIterator[Running]:
    router, stop = Router(check(raw)), asyncio.Event()
    started: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    async with aiohttp.ClientSession() as http, asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(router.serve(stop, started.set_result))
        try:
            yield Running(router, await started, http)
        finally:
            stop.set()


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[str]:
    async def healthy(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/{path}", healthy)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_questions_are_answered_in_the_order_they_come(engine: str) -> None:
    """Pipelined questions get their answers on the same connection, first decision included."""
    async with serving(settings(engine)) as running:
        reader, writer = await running.connect(running.addresses.spop)
        writer.write(HELLO + b"".join(ask(number) for number in range(20)))
        assert (await frame(reader))[0] == AGENT_HELLO
        answers = [await frame(reader) for _ in range(20)]
        writer.close()
    assert {answer[0] for answer in answers} == {ACK}
    assert [answer[5] for answer in answers] == list(range(20))
    assert all(b"engine-a" in answer for answer in answers)


async def test_event_ends_the_request_it_tells_of(engine: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A completion line frees the engine and becomes one line on stdout."""
    async with serving(settings(engine)) as running:
        reader, writer = await running.connect(running.addresses.spop)
        writer.write(HELLO + ask(1))
        await frame(reader)
        await frame(reader)
        assert running.router.fleet.snapshot(0.0).leases == 1
        _, events = await running.connect(running.addresses.events)
        line = b'{"id":"id-1","status":200,"server":"engine-a"}\n'
        events.write(str(len(line)).encode() + b" " + line)
        await until(lambda: not running.router.fleet.snapshot(0.0).leases, "the lease ends", 20)
        writer.close()
        events.close()
    [written] = [json.loads(text) for text in capfdbinary.readouterr().out.splitlines()]
    assert (written["id"], written["engine"], written["status"]) == ("id-1", "engine-a", 200)


async def test_peer_that_speaks_no_spop_is_sent_away(engine: str) -> None:
    """Garbage gets a DISCONNECT and a closed connection; the next peer is served."""
    async with serving(settings(engine)) as running:
        reader, writer = await running.connect(running.addresses.spop)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await frame(reader))[0] == AGENT_DISCONNECT
        assert await ended(reader)
        writer.close()
        reader, writer = await running.connect(running.addresses.spop)
        writer.write(HELLO)
        assert (await frame(reader))[0] == AGENT_HELLO
        writer.close()
        assert 'spop_disconnects_total{status="3"} 1' in (await running.get("/metrics"))[1]


async def test_event_stream_that_is_not_counted_is_dropped(engine: str) -> None:
    """A peer without octet counts is disconnected and counted as garbage."""
    async with serving(settings(engine)) as running:
        reader, writer = await running.connect(running.addresses.events)
        writer.write(b"<30>Nov 22 haproxy: hello")
        await reset(reader)
        writer.close()
        assert running.router.tally.garbage == 1


async def test_event_connections_are_bounded(engine: str) -> None:
    """Peers that send half a line each cannot fill the memory, and make room when they go."""
    async with serving(settings(engine)) as running:
        held = [(await running.connect(running.addresses.events))[1] for _ in range(256)]
        for writer in held:
            writer.write(b"60000 {")
        reader, refused = await running.connect(running.addresses.events)
        await reset(reader)
        refused.close()
        held.pop().close()
        await until(lambda: len(running.router._event_peers) == 255, "one is gone", 20)
        _, events = await running.connect(running.addresses.events)
        events.write(b"2 {}")
        await until(lambda: running.router.tally.events == 1, "the next is heard", 20)
        for writer in (events, *held):
            writer.close()


async def test_router_is_ready_once_it_has_seen_its_engines(engine: str) -> None:
    """Questions are taken only after the first look, so a restart refuses nobody."""
    async with serving(settings(engine)) as running:
        assert (await running.get("/readyz"))[0] == 200
        assert running.router.fleet.snapshot(0.0).engines[0].available


async def test_stop_says_goodbye_to_the_edge(engine: str) -> None:
    """A router that stops accepts nobody, answers whom it has, and ends their connections in peace."""
    async with serving(settings(engine)) as running:
        reader, writer = await running.connect(running.addresses.spop)
        writer.write(HELLO)
        await frame(reader)
    assert (await frame(reader))[0] == AGENT_DISCONNECT
    assert await ended(reader)
    writer.close()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await running.connect(running.addresses.spop)


async def test_taken_port_ends_the_start_with_an_os_error(engine: str) -> None:
    """Nothing half started: a port in use is told before anything runs."""
    async with serving(settings(engine)) as running:
        other = Router(check(settings(engine, http=running.addresses.http)))
        with pytest.raises(OSError, match="in use"):
            await other.serve(asyncio.Event())


async def test_routers_of_two_hosts_hear_each_other(engine: str) -> None:
    """What one has decided counts at the other while it runs, and is forgotten when its router is gone."""
    urls = [f"127.0.0.1:{port}" for port in free_ports(2)]
    one, two = (
        settings(engine, http=mine) | {"peers": [f"http://{other}"], "routing": {"gossip": True}}
        for mine, other in (urls, reversed(urls))
    )
    async with serving(two) as second:

        def heard() -> int:
            return second.router.fleet.snapshot(0.0).engines[0].foreign_in_flight

        async with serving(one) as first:
            reader, writer = await first.connect(first.addresses.spop)
            writer.write(HELLO + ask(1))
            assert b"engine-a" in await frame(reader) + await frame(reader)
            await until(lambda: heard() == 1, "the other hears of it", 20)
            assert "peers_heard 1" in (await second.get("/metrics"))[1]
            writer.close()
        await until(lambda: heard() == 0, "it is forgotten", 20)
