"""The router's HTTP side: health, metrics, the list of models, and an operator's drain. Errors are OpenAI-shaped."""

import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from router import gossip
from router.errors import Refused, UnknownEngine, openai_body
from router.fleet import EngineSnapshot, Fleet
from router.metrics import Registry, scrape
from router.models import Catalogue
from router.reload import Generation

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KINDS = {
    400: "invalid_request_error",
    404: "not_found_error",
    405: "method_not_allowed_error",
    413: "request_too_large_error",
}


class Admin:
    """The handlers; `ready` says whether the router has seen its engines and takes questions.

    `models`: the names served now; `generation`: the settings in force, None where no file is followed.
    `catalogue`: what can be asked for.
    """

    def __init__(
        self,
        *,
        models: Callable[[], tuple[str, ...]],
        fleet: Fleet,
        metrics: Registry,
        clock: Callable[[], float],
        ready: Callable[[], bool],
        catalogue: Catalogue,
        generation: Callable[[], Generation | None] = lambda: None,
    ) -> None:
        self._models = models
        self._fleet = fleet
        self._metrics = metrics
        self._clock = clock
        self._ready = ready
        self._generation = generation
        self._catalogue = catalogue

    def application(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(middlewares=[_errors], client_max_size=65_536)
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._scrape),
                web.get("/v1/models", self._list_models),
                web.get("/v1/models/{name:.+}", self._one_model),
                web.get("/admin/config", self._config),
                web.get(gossip.PATH, self._load),
                web.get("/admin/engines", self._list_engines),
                web.post("/admin/engines/{name}/drain", self._drain),
                web.post("/admin/engines/{name}/undrain", self._undrain),
            ]
        )
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        missing = sorted(set(self._models()) - self._servable())
        if not self._ready():
            raise _unready("router: still looking at its engines for the first time: try again in 1 s")
        if missing:
            raise _unready(f"models: no engine can serve {', '.join(missing)} now: see /admin/engines")
        return _json({"status": "ready"})

    async def _scrape(self, _: web.Request) -> web.Response:
        return web.Response(body=await scrape(self._metrics), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _list_models(self, request: web.Request) -> web.Response:
        return _json({"object": "list", "data": self._catalogue.listed(_tenant(request))})

    async def _one_model(self, request: web.Request) -> web.Response:
        return _json(self._catalogue.one(_tenant(request), request.match_info["name"]))

    async def _config(self, _: web.Request) -> web.Response:
        generation = self._generation()
        if generation is None:
            raise Refused(404, "not_found_error", "config: this router follows no file: start it with --config FILE")
        return _json(asdict(generation))

    async def _load(self, _: web.Request) -> web.Response:
        """What this router alone has where, for routers on other hosts."""
        return _json(gossip.Report(self._fleet.loads()))

    async def _list_engines(self, _: web.Request) -> web.Response:
        return _json({"engines": [asdict(engine) for engine in self._engines()]})

    async def _drain(self, request: web.Request) -> web.Response:
        _only_from_this_host(request)
        self._fleet.drain(request.match_info["name"])
        return self._one(request.match_info["name"])

    async def _undrain(self, request: web.Request) -> web.Response:
        _only_from_this_host(request)
        self._fleet.undrain(request.match_info["name"])
        return self._one(request.match_info["name"])

    def _one(self, name: str) -> web.Response:
        return _json(next(asdict(engine) for engine in self._engines() if engine.name == name))

    def _engines(self) -> tuple[EngineSnapshot, ...]:
        return self._fleet.snapshot(self._clock()).engines

    def _servable(self) -> set[str]:
        return {engine.model for engine in self._engines() if engine.available}


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    asked = request.headers.get("x-request-id", "")
    request_id = asked if _REQUEST_ID.fullmatch(asked) else str(uuid.uuid4())
    try:
        response = await handler(request)
    except Refused as refused:
        response = _refused(refused, request_id)
    except UnknownEngine as error:
        response = _refused(Refused(404, "not_found_error", str(error), param="name"), request_id)
    except web.HTTPException as error:
        response = _refused(_as_refused(error), request_id)
        response.headers.update({key: error.headers[key] for key in ("Allow",) if key in error.headers})
    response.headers["x-request-id"] = request_id
    response.headers["server"] = "ironrack-router"
    return response


def _tenant(request: web.Request) -> str:
    """Who asks, as the edge says; whoever asks here directly is on this host, and sees everything."""
    return request.headers.get("x-ironrack-tenant") or "-"


def _only_from_this_host(request: web.Request) -> None:
    """Let nobody on the network stop an engine's work: this side may listen where metrics are scraped from."""
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport else None
    here = transport.get_extra_info("sockname") if transport else None
    if not peer or not here or peer[0] != here[0]:
        found = peer[0] if peer else "nobody"
        raise Refused(403, "permission_error", f"client: found {found}: allowed this host itself; run it there")


def _as_refused(error: web.HTTPException) -> Refused:
    kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "internal_error")
    return Refused(error.status, kind, f"request: found {error.reason}: see the list of paths in the manual")


def _refused(refused: Refused, request_id: str) -> web.Response:
    headers = {"x-error-source": "router"}
    if refused.retry_after is not None:
        headers["retry-after"] = str(refused.retry_after)
    body = openai_body(refused, request_id)
    return web.Response(status=refused.status, body=body, headers=headers, content_type="application/json")


def _unready(message: str) -> Refused:
    return Refused(503, "service_unavailable_error", message, retry_after=1)


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
