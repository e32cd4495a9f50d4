"""The engine's HTTP side: vLLM's routes, plus `/sim`."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from tests.engines import tokens
from tests.engines.ask import Answer, Ask, Json, make
from tests.engines.config import EngineConfig
from tests.engines.dialects import Chat, Completions, Dialect, prompt_of
from tests.engines.engine import Engine
from tests.engines.errors import ApiError
from tests.engines.messages import Messages
from tests.engines.responses import Responses

_MAX_BODY_BYTES = 64 * 1024 * 1024
_VECTOR = 8


class Server:
    """The routes of one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.config = engine.config
        self._dialects: dict[str, Dialect] = {
            "/v1/chat/completions": Chat(),
            "/v1/completions": Completions(),
            "/v1/responses": Responses(),
            "/v1/messages": Messages(),
        }

    def routes(self) -> list[web.RouteDef]:
        """Every path this engine answers."""
        inference = [web.post(path, self.generate) for path in self._dialects]
        return [
            *inference,
            web.post("/v1/embeddings", self.embed),
            web.post("/v1/audio/transcriptions", self.transcribe),
            web.post("/tokenize", self.tokenize),
            web.get("/v1/models", self.models),
            web.get("/health", self.health),
            web.get("/version", self.version),
            web.get("/metrics", self.metrics),
            web.get("/sim", self.report),
            web.post("/sim", self.order),
        ]

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """One answer in the dialect of the path."""
        dialect = self._dialects[request.path]
        ask = dialect.read(await self._body(request), self.config.answer_tokens)
        reason = "length" if ask.limited else "stop"
        async with self.engine.generate(ask.prompt, ask.salt, ask.answer_tokens, reason) as generation:
            answer = Answer(_id(request, dialect.prefix), _now(), ask, generation)
            if ask.stream:
                return await self._stream(request, dialect, answer)
            await generation.complete()
            return _json(dialect.whole(answer), self._headers())

    async def _stream(self, request: web.Request, dialect: Dialect, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(headers={**self._headers(), "content-type": "text/event-stream; charset=utf-8"})
        if not self.config.hold_headers:
            # As in vLLM, the headers leave at once: time to headers says nothing about the first token.
            await response.prepare(request)
        generation = answer.generation
        text = await generation.more()
        await response.prepare(request)
        head = dialect.opening(answer)
        while text:
            await response.write(head + dialect.delta(answer, text, generation.sequence.finished))
            head, text = b"", await generation.more()
        await response.write(dialect.closing(answer))
        await response.write_eof()
        return response

    async def embed(self, request: web.Request) -> web.Response:
        """A vector per input: always the same one for the same text."""
        body = await self._body(request)
        given = body.get("input")
        inputs = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
        prompts = [prompt_of(item, "input") for item in inputs]
        ask = Ask("".join(prompts), str(body.get("model")), "", 0, limited=False, stream=False)
        async with self.engine.generate(ask.prompt, "", 0, "stop") as generation:
            await generation.complete()
        used = generation.sequence.prompt_tokens
        data = [{"object": "embedding", "index": at, "embedding": _vector(text)} for at, text in enumerate(prompts)]
        usage = {"prompt_tokens": used, "completion_tokens": 0, "total_tokens": used}
        head: Json = {"id": _id(request, "embd-"), "object": "list", "created": _now(), "model": ask.model}
        return _json({**head, "data": data, "usage": usage}, self._headers())

    async def transcribe(self, request: web.Request) -> web.StreamResponse:
        """Speech as a form: the answer tells how many bytes were heard; streamed as vLLM streams a chat."""
        self._refuse(request)
        form = await request.post()
        model, file = str(form.get("model", self.config.model)), form.get("file")
        if model != self.config.model:
            raise ApiError(404, f"The model `{model}` does not exist.")
        if not isinstance(file, web.FileField):
            raise ApiError(400, "file: Field required")
        heard = len(file.file.read())
        ask = make({"model": model, "stream": form.get("stream") == "true"}, tokens.pad("speech"), None, 8)
        async with self.engine.generate(ask.prompt, "", ask.answer_tokens, "stop") as generation:
            if ask.stream:
                return await self._stream(request, Chat(), Answer(_id(request, "trsc-"), _now(), ask, generation))
            await generation.complete()
        usage: Json = {"type": "duration", "seconds": heard // 32_000}
        return _json({"text": f"{heard} bytes heard", "usage": usage}, self._headers())

    async def tokenize(self, request: web.Request) -> web.Response:
        """Token ids of a prompt or of a chat."""
        body = await self._body(request)
        text = body.get("prompt")
        if not isinstance(text, str):
            text = Chat().read(body, self.config.answer_tokens).prompt
        found = tokens.ids(text)
        return _json({"count": len(found), "max_model_len": self.config.max_model_len, "tokens": found})

    async def models(self, _: web.Request) -> web.Response:
        """The one model."""
        model = {
            "id": self.config.model,
            "object": "model",
            "owned_by": "vllm",
            "root": self.config.model,
            "parent": None,
        }
        limit: Json = {"created": _now(), "max_model_len": self.config.max_model_len, "permission": []}
        return _json({"object": "list", "data": [{**model, **limit}]})

    async def health(self, _: web.Request) -> web.Response:
        """200 unless told otherwise: a frozen vLLM says 200 too."""
        if self.engine.faults.health == "hang":
            await asyncio.Event().wait()
        return web.Response(status=503 if self.engine.faults.health == "503" else 200)

    async def version(self, _: web.Request) -> web.Response:
        """A version no vLLM has."""
        return _json({"version": "0.0.0+simulated"})

    async def metrics(self, _: web.Request) -> web.Response:
        """vLLM's metrics."""
        return web.Response(body=self.engine.metrics.text(), headers={"content-type": "text/plain; version=0.0.4"})

    async def report(self, _: web.Request) -> web.Response:
        """Counters and faults in force."""
        return _json(self.engine.report())

    async def order(self, request: web.Request) -> web.Response:
        """Change the faults in force, or die."""
        order = _object(await request.read())
        self.engine.order(order)
        if order.get("die") is True:
            # Long enough for this answer to leave, nothing else: streams end where they are.
            asyncio.get_running_loop().call_later(0.01, os._exit, 1)
        return _json(self.engine.report())

    async def _body(self, request: web.Request) -> Json:
        self._refuse(request)
        body = _object(await request.read())
        model = body.get("model", self.config.model)
        if model != self.config.model:
            raise ApiError(404, f"The model `{model}` does not exist.")
        return {**body, "model": model}

    def _refuse(self, request: web.Request) -> None:
        refuse = self.engine.faults.refuse
        if not refuse:
            return
        self.engine.counters.refused += 1
        if refuse == "reset" and request.transport is not None:
            request.transport.abort()
        raise ApiError(503 if refuse == "reset" else int(refuse), "Refused on command.")

    def _headers(self) -> dict[str, str]:
        return {"server": "uvicorn", "x-sim-engine": self.config.name}


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as problem:
        return _json(problem.body(), status=problem.status)


def application(engine: Engine) -> web.Application:
    """The engine with its stepping loop, ready for a runner."""
    app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_errors])
    app.add_routes(Server(engine).routes())

    async def stepping(_: web.Application) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(engine.run())
            yield
            task.cancel()

    app.cleanup_ctx.append(stepping)
    return app


async def serve(config: EngineConfig, stop: asyncio.Event) -> None:
    """Serve until `stop`. A client that leaves cancels its request, streamed or not."""
    app = application(Engine(config))
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=config.keep_alive_seconds,
        shutdown_timeout=0.5,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, config.host, config.port, backlog=4096).start()
        await stop.wait()
    finally:
        with suppress(ConnectionError):  # a client that left first
            await runner.cleanup()


def _object(raw: bytes) -> Json:
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError as problem:
        raise ApiError(400, f"JSON decode error: {problem}") from problem
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object.")
    return body


def _json(data: Json, headers: dict[str, str] | None = None, status: int = 200) -> web.Response:
    body = msgspec.json.encode(data)
    return web.Response(body=body, status=status, headers={**(headers or {}), "content-type": "application/json"})


def _id(request: web.Request, prefix: str) -> str:
    return prefix + (request.headers.get("x-request-id") or uuid.uuid4().hex)


def _now() -> int:
    return int(datetime.now(UTC).timestamp())


def _vector(text: str) -> list[float]:
    found = tokens.ids(text)[:_VECTOR]
    return [number / 128_000 for number in found] + [0.0] * (_VECTOR - len(found))
