"""Requests that must be read whole: decided like all others, streamed through, and nothing of theirs is left behind."""

import asyncio
import hashlib
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from router.admission import PriorityClass, RoomSettings
from router.door import Door, DoorSettings
from router.errors import Refused
from router.fleet import EngineSettings, Fleet, FleetSettings, Probe
from router.forward import Times
from router.joined import Recent
from router.metrics import Tally
from router.parse import ParseSettings
from router.proxy import Proxy, ProxySettings, model_first
from router.tenants import TenantSettings
from tests.support.until import until

DOOR = DoorSettings(models={"a": "tiny", "b": "tiny", "c": "big"})
CHAT = "/v1/chat/completions"
SETTINGS = ProxySettings(
    parse=ParseSettings(models=("tiny", "big"), buffer_bytes=4096),
    headers=("x-session-id",),
    times=Times(connect=5, silence=30),
    max_body_bytes=4_000_000,
)
Handler = Callable[[web.Request], Any]


class Engine:
    """A small engine that does what `plan` says, and remembers what it saw."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.plan: Handler = self.echo
        self.seen: list[web.Request] = []
        self.aborted = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        try:
            answer = await self.plan(request)
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        assert isinstance(answer, web.StreamResponse)
        return answer

    async def echo(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        digest = hashlib.sha256(body).hexdigest()
        return web.json_response({"engine": self.name, "sha256": digest, "headers": dict(request.headers)})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Two pieces, then silence."""
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in (b"data: 0\n\n", b"data: 1\n\n"):
            await response.write(piece)
        await asyncio.Event().wait()
        return response

    async def respond(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.json_response({"id": f"resp_{self.name}_{len(self.seen)}", "object": "response"})

    async def silent(self, _: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def full(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=503, text="full")

    async def reset(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def headers_only(self, request: web.Request) -> web.StreamResponse:
        """Headers, and then it dies."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        return await self.reset(request)

    async def half(self, request: web.Request) -> web.StreamResponse:
        """The first piece, and then it dies."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 0\n\n")
        while not self.released.is_set():
            await self.released.wait()
        return await self.reset(request)

    @property
    def released(self) -> asyncio.Event:
        """Set to let `half` go on."""
        return self.__dict__.setdefault("_released", asyncio.Event())  # type: ignore[no-any-return]  # set above


class Desk:
    """A proxy over real sockets, two engines of `tiny` and one of `big` behind it."""

    def __init__(self, http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
        self.http = http
        self._stack = stack
        self.engines = {name: Engine(name) for name in "abc"}
        self.url = ""

    async def start(
        self, settings: ProxySettings = SETTINGS, door: DoorSettings = DOOR, max_requests: int = 0
    ) -> "Desk":
        for engine in self.engines.values():
            app = web.Application(client_max_size=1 << 30)
            app.router.add_post("/{path:.*}", engine.handle)
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, max_field_size=32_768)
            engine.url = await self._serve(runner)
        wanted = tuple(
            EngineSettings(name, engine.url, "big" if name == "c" else "tiny") for name, engine in self.engines.items()
        )
        self.fleet = Fleet(FleetSettings(wanted, max_requests=max_requests), 0.0)
        for name in self.engines:
            self.fleet.probe(name, Probe(ok=True), 0.0)
        self.tally = Tally("abc", ("x-session-id", "fingerprint"))
        self.door = Door(self.fleet, self.tally, Recent(100), door, 0.0)
        self.proxy = Proxy(settings, self.fleet, self.tally, self.door)
        self.url = await self._serve(self.proxy.runner())
        return self

    async def _serve(self, runner: web.AppRunner) -> str:
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    def post(self, body: object, path: str = CHAT, **headers: str) -> Any:
        octets = body if isinstance(body, bytes) else json.dumps(body).encode()
        data = io.BytesIO(octets)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(self.url + path, data=data, headers=named)

    async def status(self, model: str, **headers: str) -> int:
        async with self.post(question(model), **headers) as answer:
            await answer.read()
            return int(answer.status)

    def leases(self) -> int:
        return self.fleet.snapshot(1.0).leases

    def loads(self) -> set[tuple[int, int]]:
        return {(engine.in_flight, engine.uncached_tokens) for engine in self.fleet.snapshot(1.0).engines}


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        found = Desk(http, stack)
        yield found
        if found.url:
            await until(lambda: found.leases() == 0 and found.loads() == {(0, 0)}, "nothing is held any more")
            assert (found.proxy._spool.held, len(found.door.room)) == (0, 0)


def question(model: str = "tiny", pad: int = 10_000) -> dict[str, object]:
    """The model stands behind more than the edge could buffer."""
    return {"messages": [{"role": "user", "content": "x" * pad}], "model": model}


async def test_model_is_found_wherever_it_stands(desk: Desk) -> None:
    """Behind a prompt larger than the buffer, the last word of the body decides; every byte reaches the engine."""
    await desk.start()
    body = json.dumps(question("big", 1_000_000)).encode()
    async with desk.post(body) as answer:
        seen = await answer.json()
    assert (answer.status, seen["engine"], seen["sha256"]) == (200, "c", hashlib.sha256(body).hexdigest())
    assert (answer.headers["x-served-by"], answer.headers["x-route-reason"]) == ("c", "new")
    assert answer.headers["server"] == "ironrack-router"


async def test_session_stays_at_its_engine(desk: Desk) -> None:
    """The same key as for a question of the edge: the second turn goes home."""
    await desk.start()
    served = []
    for turn in range(4):
        async with desk.post(question(pad=10_000 + turn), x_session_id="s") as answer:
            served.append((answer.headers["x-served-by"], answer.headers["x-route-reason"]))
    assert served == [(served[0][0], "new"), *[(served[0][0], "home")] * 3]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (question("none"), 404, "model_not_found"),
        ({"messages": [], "pad": "x" * 10_000}, 400, "missing_model"),
        (b"[" * 100_000, 400, "missing_model"),
        (b'{"model": "tiny"', 400, None),
        (b'{"pad": "%s", "model": {}}' % (b"x" * 10_000), 400, "missing_model"),
        (b'{"model":"tiny","pad":"%s","model":"big"}' % (b"x" * 10_000), 400, "ambiguous_model"),
        (b"x" * 4_000_001, 413, "request_too_large"),
    ],
)
async def test_refusal_has_openais_shape(desk: Desk, body: object, status: int, code: str | None) -> None:
    """What cannot be served is told as everywhere else, and no engine hears of it."""
    await desk.start()
    async with desk.post(body, x_request_id="req-7") as answer:
        found = await answer.json()
    assert (answer.status, found["error"]["code"], found["request_id"]) == (status, code, "req-7")
    assert answer.headers["x-error-source"] == "router"
    assert not any(engine.seen for engine in desk.engines.values())


@pytest.mark.parametrize(("path", "method", "status"), [("/other", "POST", 404), (CHAT, "GET", 405)])
async def test_only_the_known_paths_are_served(desk: Desk, path: str, method: str, status: int) -> None:
    """The proxy is no way around the edge's list of paths."""
    await desk.start()
    async with desk.http.request(method, desk.url + path, data=b"{}") as answer:
        assert answer.status == status


async def test_chunked_body_without_length_is_bounded(desk: Desk) -> None:
    """Nobody said how long it would be: it is cut off at the limit."""
    await desk.start()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 65_536

    async with desk.http.post(desk.url + CHAT, data=pieces()) as answer:
        assert answer.status == 413


async def test_headers_of_a_connection_stay_with_it(desk: Desk) -> None:
    """Hop-by-hop headers, those they name, and what only the edge and the router say, end here."""
    await desk.start()
    sent = {
        "connection": "x_gone",
        "x_gone": "1",
        "te": "trailers",
        "x_kept": "1",
        "authorization": "Bearer client",
        "x_ironrack_tenant": "acme",
        "x_ironrack_priority": "3",
        "x_served_by": "me",
    }
    async with desk.post(question(), **{**sent, "connection": "x-gone"}) as answer:
        seen = {name.lower(): value for name, value in (await answer.json())["headers"].items()}
    assert {"x-gone", "te", "x-ironrack-tenant", "x-served-by", "transfer-encoding"}.isdisjoint(seen)
    assert (seen["x-kept"], seen["x-ironrack-priority"], seen["authorization"]) == ("1", "3", "Bearer client")


async def test_long_header_that_the_edge_let_pass_is_passed_on(desk: Desk) -> None:
    """Cookies and tokens of many kilobytes are none of our business."""
    await desk.start()
    for engine in desk.engines.values():
        engine.plan = engine.stream
    async with desk.post(question(), x_long="y" * 15_000) as answer:
        assert answer.status == 200


async def test_engines_key_replaces_the_clients(desk: Desk) -> None:
    """Where engines want a key, they see ours and never the client's."""
    await desk.start(replace(SETTINGS, engine_key="k-7"))
    async with desk.post(question(), authorization="Bearer client") as answer:
        assert (await answer.json())["headers"]["Authorization"] == "Bearer k-7"


async def test_answer_is_not_held_back(desk: Desk) -> None:
    """Pieces pass as they come: the first one is here while the engine still works."""
    await desk.start()
    for engine in desk.engines.values():
        engine.plan = engine.stream
    async with desk.post(question()) as answer:
        seen = b""
        while seen != b"data: 0\n\ndata: 1\n\n":
            seen += await answer.content.readany()
        assert desk.leases() == 1
        assert answer.headers["content-type"] == "text/event-stream"
        assert {load[1] for load in desk.loads()} == {0}, "prefill load goes with the first byte"


@pytest.mark.parametrize("begun", [False, True])
async def test_client_that_leaves_takes_the_engines_work_with_it(desk: Desk, begun: bool) -> None:
    """Before the first byte or in the middle of a stream: the engine sees the abort, and is not blamed."""
    await desk.start()
    for engine in desk.engines.values():
        engine.plan = engine.stream if begun else engine.silent

    async def client() -> None:
        async with desk.post(question()) as answer:
            await answer.content.readany()
            await asyncio.Event().wait()

    leaving = asyncio.ensure_future(client())
    await until(lambda: any(engine.seen for engine in desk.engines.values()), "the engine has the request")
    if begun:
        await until(lambda: {load[1] for load in desk.loads()} == {0}, "the stream has begun")
    leaving.cancel()
    await until(lambda: any(engine.aborted for engine in desk.engines.values()), "the engine sees the abort", 1)
    await until(lambda: desk.leases() == 0, "the lease is given back")
    assert (desk.tally.carried["left"], desk.tally.aborted.total(), desk.tally.truncated.total()) == (1, 1, 0)
    assert {engine.failures for engine in desk.fleet.snapshot(1.0).engines} == {0}


@pytest.mark.parametrize("how", ["reset", "headers_only", "full", "gone"])
async def test_another_engine_answers_before_the_first_byte(desk: Desk, how: str) -> None:
    """Reset, headers without a body, 503, nobody listening: the client sees an answer and the word retry."""
    await desk.start()
    first, second = desk.engines["a"], desk.engines["b"]
    async with desk.post(question(), x_session_id="s") as answer:
        if answer.headers["x-served-by"] == "b":
            first, second = second, first
    if how == "gone":
        gone = EngineSettings(first.name, "http://127.0.0.1:9", "tiny")
        others = tuple(e for e in desk.fleet._settings.engines if e.name != first.name)
        desk.fleet.configure(replace(desk.fleet._settings, engines=(gone, *others)))
        desk.fleet.probe(first.name, Probe(ok=True), 0.0)
    else:
        first.plan = getattr(first, how)
    async with desk.post(question(), x_session_id="s") as answer:
        assert (answer.status, (await answer.json())["engine"]) == (200, second.name)
    assert (answer.headers["x-served-by"], answer.headers["x-route-reason"]) == (second.name, "retry")
    assert desk.tally.carried["retried"] == 1


async def test_response_is_continued_where_it_is_stored(desk: Desk) -> None:
    """The id at the beginning of an answer is remembered: its engine alone can continue it."""
    await desk.start()
    for engine in desk.engines.values():
        engine.plan = engine.respond
    first = {"model": "tiny", "input": "x" * 10_000}
    async with desk.post(first, "/v1/responses") as answer:
        stored, engine_name = await answer.json(), answer.headers["x-served-by"]
    for session in "abcd":
        then = {"model": "tiny", "input": "go on", "previous_response_id": stored["id"]}
        async with desk.post(then, "/v1/responses", x_session_id=session) as answer:
            assert answer.headers["x-served-by"] == engine_name


async def test_no_engine_is_asked_after_the_first_byte(desk: Desk) -> None:
    """A stream that breaks off breaks off for the client too: half an answer must not look whole."""
    await desk.start()
    for engine in desk.engines.values():
        engine.plan = engine.half
    async with desk.post(question()) as answer:
        assert await answer.content.readany() == b"data: 0\n\n"
        for engine in desk.engines.values():
            engine.released.set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()
    assert sum(len(engine.seen) for engine in desk.engines.values()) == 1
    served = answer.headers["x-served-by"]
    await until(lambda: desk.leases() == 0, "it is accounted for")
    assert (desk.tally.truncated, desk.tally.aborted.total()) == ({served: 1}, 0)


@pytest.mark.parametrize(("how", "status"), [("reset", 502), ("headers_only", 502), ("full", 503)])
async def test_every_engine_failing_is_told(desk: Desk, how: str, status: int) -> None:
    """Each is asked once; then the client gets an error of ours, or the engines' own 503."""
    await desk.start()
    for engine in desk.engines.values():
        engine.plan = getattr(engine, how)
    async with desk.post(question()) as answer:
        assert answer.status == status
    assert [len(engine.seen) for engine in desk.engines.values()] == [1, 1, 0]


async def test_retries_are_bounded(desk: Desk) -> None:
    """Without retries the first failure is the answer."""
    await desk.start(replace(SETTINGS, retries=0))
    for engine in desk.engines.values():
        engine.plan = engine.reset
    async with desk.post(question()) as answer:
        assert answer.status == 502
    assert sum(len(engine.seen) for engine in desk.engines.values()) == 1


async def test_tries_here_spend_the_same_budget_as_those_of_the_edge(desk: Desk) -> None:
    """Each try after the first counts as it is made; once the budget is spent, the first failure is the answer."""
    await desk.start()
    first, second = desk.engines["a"], desk.engines["b"]
    first.plan, second.plan = first.full, second.full
    for _ in range(11):
        assert await desk.status("tiny") == 503
    now = time.monotonic()
    assert desk.door.retries.spent(now)
    asked = len(first.seen) + len(second.seen)
    assert await desk.status("tiny") == 503
    assert len(first.seen) + len(second.seen) == asked + 1
    assert desk.door.retries.refused == 1


async def test_budget_that_is_spent_while_an_engine_is_asked_holds(desk: Desk) -> None:
    """A request let in before the storm has no second try in it."""
    await desk.start()
    first, second = desk.engines["a"], desk.engines["b"]

    async def fail(request: web.Request) -> web.StreamResponse:
        desk.door.retries.completed(50, time.monotonic())
        return await first.full(request)

    first.plan = second.plan = fail
    assert await desk.status("tiny") == 503
    assert len(first.seen) + len(second.seen) == 1
    assert desk.tally.carried["retried"] == 0


async def test_engine_that_says_nothing_is_given_up(desk: Desk) -> None:
    """Silence is not retried, as at the edge: the next engine would only be kept busy, too."""
    await desk.start(replace(SETTINGS, times=Times(connect=5, silence=0.05)))
    for engine in desk.engines.values():
        engine.plan = engine.silent
    async with desk.post(question()) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (504, "engine_timeout")
    assert sum(len(engine.seen) for engine in desk.engines.values()) == 1


def waiting(door: DoorSettings = DOOR, **room: Any) -> DoorSettings:
    return replace(door, room=RoomSettings(**({"capacity": 10, "seconds": 30} | room)))


async def test_request_waits_for_a_full_engine(desk: Desk) -> None:
    """As at the edge: whoever finds no room waits, and goes in when one request is over."""
    await desk.start(door=waiting(), max_requests=1)
    engine = desk.engines["c"]
    engine.plan = engine.silent
    first = asyncio.ensure_future(desk.status("big"))
    await until(lambda: len(engine.seen) == 1, "the engine is full")
    second = asyncio.ensure_future(desk.status("big"))
    await until(lambda: len(desk.door.room) == 1, "the second one waits")
    engine.plan = engine.echo
    first.cancel()
    assert await second == 200


async def test_client_that_leaves_the_room_leaves_nothing_there(desk: Desk) -> None:
    """Its place is free, and the next one is not behind it."""
    await desk.start(door=waiting(), max_requests=1)
    engine = desk.engines["c"]
    engine.plan = engine.silent
    tasks = []
    for number in range(2):
        tasks.append(asyncio.ensure_future(desk.status("big")))
        await until(lambda: len(engine.seen) + len(desk.door.room) == len(tasks), f"request {number} is there")
    tasks[1].cancel()
    await until(lambda: len(desk.door.room) == 0, "nobody waits")
    assert desk.leases() == 1
    await until(lambda: desk.tally.aborted.total() == 1, "it is counted")
    assert (desk.tally.aborted, desk.tally.carried["left"]) == ({"none": 1}, 1)
    tasks[0].cancel()


async def test_waiting_ends_with_a_refusal(desk: Desk) -> None:
    """Nobody waits longer than the limit."""
    await desk.start(door=waiting(seconds=0.01), max_requests=1)
    engine = desk.engines["c"]
    engine.plan = engine.silent
    first = asyncio.ensure_future(desk.status("big"))
    await until(lambda: len(engine.seen) == 1, "the engine is full")
    second = asyncio.ensure_future(desk.status("big"))

    def refused() -> bool:
        desk.door.tick(time.monotonic())
        return second.done()

    await until(refused, "the second one is refused")
    assert await second in {429, 503}
    first.cancel()


async def test_tenants_may_do_here_what_they_may_do_elsewhere(desk: Desk) -> None:
    """The edge says who asks; a model that is not theirs is refused."""
    await desk.start(door=replace(DOOR, tenants=(TenantSettings("acme", models=frozenset({"tiny"})),)))
    assert await desk.status("big", x_ironrack_tenant="acme") == 403
    assert await desk.status("tiny", x_ironrack_tenant="acme") == 200


async def test_engine_is_told_how_urgent_a_request_is(desk: Desk) -> None:
    """The class that the edge names becomes vLLM's number, as a header that the engine's middleware reads."""
    classes = (PriorityClass("default"), PriorityClass("batch", priority=7))
    await desk.start(door=waiting(classes=classes))
    async with desk.post(question(), x_ironrack_class="batch") as answer:
        assert (await answer.json())["headers"]["x-ironrack-priority"] == "7"


async def test_client_that_never_sends_its_body_is_sent_away(desk: Desk) -> None:
    """Room for a body is not held for ever."""
    await desk.start(replace(SETTINGS, request_seconds=0.05))

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    async with desk.http.post(desk.url + CHAT, data=pieces()) as answer:
        assert answer.status == 408


@pytest.mark.parametrize("model", ["tiny", "big", "org/ü"])
def test_model_first_says_the_model_before_everything_else(model: str) -> None:
    """The beginning of a long body, as parse needs it: the model first, the prompt as far as it goes."""
    body = b' \n{"messages":"%s","model":%s}' % (b"x" * 10_000, json.dumps(model).encode())
    seen, found = model_first(body, 1000)
    assert found == model
    assert msgspec.json.decode(seen + b'"}') == {"model": model, "messages": "x" * (1000 - len('"messages":"'))}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"model":"x"}', b"\xff" * 100])
def test_short_body_is_left_as_it_is(body: bytes) -> None:
    """What fits the buffer needs no help."""
    assert model_first(body, 100) == (body, None)


@pytest.mark.parametrize("body", [b"[]" * 100, b'{"model":3}' * 50, b"[" * 100_000, b"\xff" * 200])
def test_long_body_without_a_model_is_refused(body: bytes) -> None:
    """The whole of it was read, and there is none."""
    with pytest.raises(Refused) as caught:
        model_first(body, 50)
    assert (caught.value.status, caught.value.code) == (400, "missing_model")
