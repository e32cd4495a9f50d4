"""The rare request that HAProxy cannot place: what decides stands beyond its buffer, or in a form's last field.

The body is read whole, decided on by the same rules as all others, and sent to an engine from here; the answer is
streamed through. Only the edge talks to this side: who asks, and how urgently, is what its headers say.

Who must wait waits here as at the edge. Before the first byte of an answer another engine is tried, at most `retries`
times; after it, never. A client that leaves takes the engine's work with it: the server cancels the handler, which
closes the connection to the engine.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from router.admission import Ticket, Waiting
from router.answer import stored_id
from router.door import Door
from router.errors import NeedsProxy, Refused, openai_body
from router.fleet import EngineSnapshot, Fleet, Outcome
from router.forward import SERVER, Begun, Failed, Times, answer_headers, begin, more, request_headers, session
from router.metrics import Tally
from router.parse import Ask, ParseSettings, Request, parse
from router.spool import Spool, read

logger = logging.getLogger(__name__)

_CLIENT_LEFT = 499  # in the books only: nobody is there to read it
_RETRIED_STATUS = 503
_FORM = "multipart/form-data"
_RESPONSES = "/v1/responses"
_HEAD_OCTETS = 512
_COMMENT = b":"  # of server-sent events
_SHUTDOWN_SECONDS = 8.0  # for streams under way; a container that is stopped has ten
_LONGEST_HEADER = 32_768  # octets: the edge lets half of that pass, for all headers together
_LINGER_SECONDS = 1.0  # for the rest of a body that was refused before its end


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Sizes in bytes, durations in seconds. `headers`: those that may name a session, first found first.

    `spool_bytes`: bodies held at once, all together. `engine_key`: what engines want to see from us, empty for nothing.
    """

    parse: ParseSettings
    headers: tuple[str, ...] = ()
    times: Times = field(default_factory=Times)
    retries: int = 3
    max_body_bytes: int = 16_777_216
    spool_bytes: int = 268_435_456
    request_seconds: float = 30.0
    engine_key: str = ""


@dataclass(slots=True)
class _Job:
    """One request on its way: what was asked, where it goes, and how it stands. `room`: what its body holds."""

    request: web.Request
    room: AsyncExitStack
    body: bytes
    ask: Ask
    ticket: Ticket
    tried: list[str] = field(default_factory=list)
    status: int = 0
    termination: str = "--"
    begun: bool = False

    @property
    def why(self) -> str:
        """The decision's reason, unless another engine than the chosen one answered."""
        choice = self.ticket.choice
        return choice.why.value if self.tried[-1] == choice.engine else "retry"


class Proxy:
    """The handlers. Whom the door lets in has a lease, which ends here, whatever happens."""

    def __init__(self, settings: ProxySettings, fleet: Fleet, tally: Tally, door: Door) -> None:
        self._settings = settings
        self._fleet = fleet
        self._tally = tally
        self._door = door
        self._spool = Spool(settings.max_body_bytes, settings.spool_bytes, settings.request_seconds)
        self._http: aiohttp.ClientSession | None = None

    def configure(self, settings: ProxySettings) -> None:
        """Take over new settings, for the next request on."""
        self._settings = settings
        self._spool.configure(settings.max_body_bytes, settings.spool_bytes, settings.request_seconds)

    def application(self) -> web.Application:
        """Return the application. It counts on handlers that are cancelled when their client leaves: see `runner`."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.cleanup_ctx.append(self._client)
        return app

    def runner(self) -> web.AppRunner:
        """Return what serves the application, once it is set up and has a site."""
        return web.AppRunner(
            self.application(),
            access_log=None,
            handler_cancellation=True,
            auto_decompress=False,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )

    async def _client(self, _: web.Application) -> AsyncIterator[None]:
        async with session() as self._http:
            yield

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            async with AsyncExitStack() as room:
                return await self._serve(await self._take(request, room))
        except Refused as refused:
            self._tally.carried["refused"] += 1
            self._tally.refused(refused.status, refused.code, refused.model)
            return _refusal(refused, request)
        except ConnectionResetError:
            return web.Response(status=_CLIENT_LEFT)
        except Exception:  # told the client in the API's form; counted and logged
            self._tally.fault(logger, "a request could not be passed on")
            return _refusal(_failed(), request)

    async def _take(self, request: web.Request, room: AsyncExitStack) -> _Job:
        most = await room.enter_async_context(self._spool.room(request.content_length))
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                body = await read(request.content, most)
        except TimeoutError:
            message = "body: it did not arrive completely in time: send it faster, or a shorter one"
            raise Refused(408, "timeout_error", message, code="request_timeout") from None
        seen, model = body, None
        if not request.headers.get("content-type", "").lower().startswith(_FORM):
            seen, model = model_first(body, self._settings.parse.buffer_bytes)
        return _Job(request, room, body, *await self._admit(self._read(request, seen, len(body)), model))

    def _read(self, request: web.Request, seen: bytes, size: int) -> Request:
        """The request as the edge would have asked about it, had its buffer been large enough."""
        kind = request.headers.get("content-type", "")
        source = next((name for name in self._settings.headers if request.headers.get(name)), "")
        return Request(
            id=request.headers.get("x-ironrack-lease") or uuid.uuid4().hex,
            method=request.method,
            path=request.rel_url.raw_path,
            content_type=kind,
            session=request.headers.get(source, "") if source else "",
            source=source,
            tenant=request.headers.get("x-ironrack-tenant") or "-",
            size=max(size, len(seen)),
            body=seen,
            priority_class=request.headers.get("x-ironrack-class", ""),
        )

    async def _admit(self, request: Request, model: str | None) -> tuple[Ask, Ticket]:
        """Let a request in. `model`: the name that its engine will read, where it was looked for in the whole body."""
        try:
            ask = parse(request, self._settings.parse)
        except NeedsProxy:
            raise _no_model() from None
        if model is not None and model != (ask.adapter or ask.model):
            message = "model: two different names: one is needed; GET /v1/models lists them"
            raise Refused(400, "invalid_request_error", message, param="model", code="ambiguous_model")
        return ask, self._door.ask(ask, time.monotonic()) or await self._wait(ask)

    async def _wait(self, ask: Ask) -> Ticket:
        """Wait for room at an engine. Raises Refused where none comes free in time."""
        told: asyncio.Future[Ticket | Refused | None] = asyncio.get_running_loop().create_future()

        def tell(_: Waiting, answer: Ticket | Refused | None) -> None:
            if not told.done():
                told.set_result(answer)

        try:
            answer = await told if self._door.admit(ask.id, time.monotonic(), tell) else None
        except asyncio.CancelledError:
            # The client left, maybe in the moment it was let in.
            self._ended(Outcome(ask.id, "", _CLIENT_LEFT, "CH"))
            self._tally.carried["left"] += 1
            raise
        if isinstance(answer, Ticket):
            return answer
        raise answer or _failed()

    async def _serve(self, job: _Job) -> web.StreamResponse:
        try:
            begun = await self._begin(job)
            await job.room.aclose()  # nobody is asked a second time from here on
            return await self._stream(job, begun)
        except Refused as refused:
            job.status = refused.status
            raise
        except (asyncio.CancelledError, ConnectionResetError):
            # Either says that the client is gone. Of that an engine is not guilty.
            job.status, job.termination = job.status or _CLIENT_LEFT, "CD" if job.begun else "CH"
            self._tally.carried["left"] += 1
            raise
        finally:
            self._finish(job)

    async def _begin(self, job: _Job) -> Begun:
        """The beginning of an answer, of the chosen engine or of another. Raises Refused when none gave one."""
        engine = self._chosen(job)
        while True:
            job.tried.append(engine.name)
            try:
                begun = await self._try(job, engine)
            except Failed as failed:
                job.termination = failed.termination
                other = self._again(job) if failed.again else None
                if other is None:
                    raise _unanswered(engine.name, failed) from failed
            else:
                other = self._again(job) if begun.answer.status == _RETRIED_STATUS else None
                if other is None:
                    job.termination = "--"
                    return begun
                begun.answer.close()
            self._tally.carried["retried"] += 1
            engine = other

    async def _try(self, job: _Job, engine: EngineSnapshot) -> Begun:
        assert self._http is not None
        headers = request_headers(job.request.headers, len(job.body), self._settings.engine_key)
        if job.ticket.priority:
            headers["x-ironrack-priority"] = str(job.ticket.priority)
        url = URL(engine.url + job.request.raw_path, encoded=True)
        return await begin(self._http, url, headers, job.body, self._settings.times)

    def _chosen(self, job: _Job) -> EngineSnapshot:
        name = job.ticket.choice.engine
        for engine in self._fleet.snapshot(time.monotonic()).engines:
            if engine.name == name:
                return engine
        raise _unanswered(name, Failed("SC", "is not configured any more"))

    def _again(self, job: _Job) -> EngineSnapshot | None:
        """The engine to try next; None: there is none, or no try is left, of this request or of all together."""
        if not job.ticket.retries or len(job.tried) > self._settings.retries:
            return None
        other = self._other(job)
        return other if other is not None and self._door.retries.take(time.monotonic()) else None

    def _other(self, job: _Job) -> EngineSnapshot | None:
        """Of the engines not tried yet the one with the fewest requests."""
        engines = self._fleet.snapshot(time.monotonic()).engines
        able = (each for each in engines if each.model == job.ask.model and each.available)
        return min((each for each in able if each.name not in job.tried), key=lambda each: each.in_flight, default=None)

    async def _stream(self, job: _Job, begun: Begun) -> web.StreamResponse:
        answer = begun.answer
        job.status, job.begun = answer.status, True
        waits = self._still_computing(job, begun.first)
        response = web.StreamResponse(status=answer.status, reason=answer.reason)
        response.headers.update(answer_headers(answer.headers, job.tried[-1], job.why))
        response.headers.update({"x-ironrack-model": job.ask.model, "x-ironrack-source": job.ask.source})
        try:
            await response.prepare(job.request)
            piece = begun.first
            while piece:
                await response.write(piece)
                piece = await more(answer)
                waits = waits and self._still_computing(job, piece)
            await response.write_eof()
            self._tally.carried["answered"] += 1
        except Failed as failed:
            job.termination = failed.termination
            _break_off(job.request)
        finally:
            answer.close()
        return response

    def _still_computing(self, job: _Job, piece: bytes) -> bool:
        """Tell the fleet of the first piece that does not merely keep the client there."""
        if piece.startswith(_COMMENT):
            return True
        engine, now = job.tried[-1], time.monotonic()
        self._fleet.begun(job.ask.id, engine, now, job.status)
        stored = stored_id(piece[:_HEAD_OCTETS]) if job.request.path == _RESPONSES else ""
        if stored:
            self._fleet.stored(job.ask.id, stored, now)
        self._door.freed(engine, now)
        return False

    def _finish(self, job: _Job) -> None:
        """As the edge would tell of a request: who served it, whom it was meant for, and how it ended."""
        server = job.tried[-1] if job.tried else ""
        retries = max(len(job.tried) - 1, 0)
        self._ended(Outcome(job.ask.id, server, job.status, job.termination, retries, job.ticket.choice.engine))

    def _ended(self, outcome: Outcome) -> None:
        now = time.monotonic()
        self._tally.ended(outcome.server, outcome.status, outcome.retries, outcome.termination)
        self._fleet.finished(outcome, now)
        self._door.ended(outcome.id, outcome.server, now)


class _Named(msgspec.Struct):
    model: str | None = None


_NAMED = msgspec.json.Decoder(_Named)


def model_first(body: bytes, most: int) -> tuple[bytes, str | None]:
    """The first `most` bytes of a JSON object, preceded by its `model` wherever that stands.

    And that model, None for a body that is short enough to be read whole. Reading on takes no more memory for a body of
    megabytes than for one that the edge could buffer. Raises Refused (400) where such a body is no JSON object or names
    no model.
    """
    if len(body) <= most:
        return body, None
    try:
        model = _NAMED.decode(body).model
    except (msgspec.MsgspecError, ValueError, RecursionError):
        model = None
    if model is None:
        raise _no_model()
    opening = body.find(b"{")
    return b'{"model":' + msgspec.json.encode(model) + b"," + body[opening + 1 : opening + 1 + most], model


def _no_model() -> Refused:
    message = "model: nothing in the whole body: a text is needed, in a JSON object; GET /v1/models lists the names"
    return Refused(400, "invalid_request_error", message, param="model", code="missing_model")


def _failed() -> Refused:
    return Refused(500, "internal_error", "router: it failed on this request: its log says why")


def _unanswered(engine: str, failed: Failed) -> Refused:
    if failed.termination == "SC":
        message = f"engine: {engine} {failed}, and no other is left: try again in 1 s"
        return Refused(503, "service_unavailable_error", message, code="no_engine", retry_after=1)
    if failed.termination == "sH":
        return Refused(504, "timeout_error", f"engine: {engine} {failed}: try again", code="engine_timeout")
    return Refused(502, "bad_gateway_error", f"engine: {engine} {failed}: try again", code="bad_gateway")


def _refusal(refused: Refused, request: web.Request) -> web.Response:
    body = openai_body(refused, request.headers.get("x-request-id", ""))
    headers = {"x-error-source": "router", "server": SERVER}
    if refused.retry_after is not None:
        headers["retry-after"] = str(refused.retry_after)
    return web.Response(status=refused.status, body=body, headers=headers, content_type="application/json")


def _break_off(request: web.Request) -> None:
    """End the connection where the engine ended its own: an answer without its end must not look whole."""
    if request.transport is not None:
        request.transport.close()
