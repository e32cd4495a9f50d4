"""The HTTP side: true answers for machines and people, OpenAI-shaped errors for everything else."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from router.admin import Admin
from router.fleet import EngineSettings, Fleet, FleetSettings, Probe
from router.metrics import Exporter, Tally, registry
from router.models import Catalogue, Offer


class Desk:
    """A served HTTP side over a real fleet of two models."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http
        self.ready = True
        engines = (
            EngineSettings("a", "http://127.0.0.1:1", "tiny"),
            EngineSettings("b", "http://127.0.0.1:2", "tiny"),
            EngineSettings("c", "http://127.0.0.1:3", "big"),
        )
        self.fleet = Fleet(FleetSettings(engines), 0.0)
        exporter = Exporter(Tally("abc", ()), lambda: self.fleet.snapshot(1.0), dict)
        self.admin = Admin(
            models=lambda: ("tiny", "big"),
            fleet=self.fleet,
            metrics=registry(exporter),
            clock=lambda: 1.0,
            ready=lambda: self.ready,
            catalogue=Catalogue((Offer("tiny"), Offer("big")), lambda: self.fleet.snapshot(1.0).engines, 1_700_000_000),
        )
        self.url = ""

    def rise(self, *engines: str) -> None:
        for engine in engines:
            self.fleet.probe(engine, Probe(ok=True), 0.0)

    async def call(self, method: str, path: str, **headers: str) -> tuple[int, Any, aiohttp.ClientResponse]:
        async with self.http.request(method, self.url + path, headers=headers) as answer:
            json = answer.content_type == "application/json"
            return answer.status, await (answer.json() if json else answer.text()), answer


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    async with aiohttp.ClientSession() as http:
        served = Desk(http)
        runner = web.AppRunner(served.admin.application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield served
        await runner.cleanup()


async def test_healthz_says_that_the_process_runs(desk: Desk) -> None:
    """Alive, whatever the engines do."""
    desk.ready = False
    status, body, answer = await desk.call("GET", "/healthz")
    assert (status, body) == (200, {"status": "ok"})
    assert answer.headers["server"] == "ironrack-router"


async def test_readyz_wants_a_first_look_and_an_engine_for_each_model(desk: Desk) -> None:
    """Ready only when questions are taken and no model is without an engine; the reason is in the answer."""
    status, body, answer = await desk.call("GET", "/readyz")
    assert (status, answer.headers["retry-after"]) == (503, "1")
    assert "big, tiny" in body["error"]["message"]
    desk.rise("a", "c")
    assert (await desk.call("GET", "/readyz"))[0] == 200
    desk.ready = False
    assert (await desk.call("GET", "/readyz"))[0] == 503


async def test_models_lists_what_can_be_served_and_marks_what_will_be(desk: Desk) -> None:
    """A model without an engine is not offered; one whose engines are still starting is marked."""
    desk.rise("c")
    status, body, _ = await desk.call("GET", "/v1/models")
    assert (status, body["object"]) == (200, "list")
    big = {"id": "big", "object": "model", "created": 1_700_000_000, "owned_by": "ironrack"}
    assert body["data"] == [{**big, "id": "tiny", "ready": False}, big]
    desk.fleet.drain("c")
    assert [model["id"] for model in (await desk.call("GET", "/v1/models"))[1]["data"]] == ["tiny"]


async def test_one_model_is_found_by_its_name(desk: Desk) -> None:
    """OpenAI's second verb for models; an unknown name is told so."""
    desk.rise("a", "c")
    status, body, _ = await desk.call("GET", "/v1/models/big")
    assert (status, body["id"]) == (200, "big")
    status, body, _ = await desk.call("GET", "/v1/models/org/none")
    assert (status, body["error"]["code"]) == (404, "model_not_found")


async def test_metrics_are_scraped_as_text(desk: Desk) -> None:
    """Prometheus gets its own format."""
    status, text, answer = await desk.call("GET", "/metrics")
    assert (status, answer.content_type) == (200, "text/plain")
    assert "ironrack_router_engine_in_flight" in text


async def test_drain_and_undrain_show_in_the_list(desk: Desk) -> None:
    """An operator's word is answered with the engine as it is now, and is idempotent."""
    desk.rise("a", "b", "c")
    for _ in range(2):
        status, engine, _ = await desk.call("POST", "/admin/engines/a/drain")
        assert (status, engine["name"], engine["draining"], engine["available"]) == (200, "a", True, False)
    _, listed, _ = await desk.call("GET", "/admin/engines")
    assert {each["name"]: each["state"] for each in listed["engines"]} == {"a": "draining", "b": "ready", "c": "ready"}
    _, engine, _ = await desk.call("POST", "/admin/engines/a/undrain")
    assert (engine["draining"], engine["available"]) == (False, True)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/admin/engines/none/drain", 404, "router_not_found_error"),
        ("GET", "/nothing", 404, "router_not_found_error"),
        ("GET", "/admin/engines/a/drain", 405, "router_method_not_allowed_error"),
        ("DELETE", "/v1/models", 405, "router_method_not_allowed_error"),
    ],
)
async def test_bad_request_gets_openais_error_shape(desk: Desk, method: str, path: str, status: int, kind: str) -> None:
    """Every error names its kind, its producer and the request."""
    found, body, answer = await desk.call(method, path, **{"x-request-id": "req-7"})
    assert (found, body["error"]["type"], body["request_id"]) == (status, kind, "req-7")
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-error-source"] == "router"
    assert answer.headers["x-request-id"] == "req-7"
    assert ("allow" in answer.headers) == (status == 405)


async def test_request_id_that_is_not_one_is_replaced(desk: Desk) -> None:
    """A client's id is taken over only when it is short and plain."""
    _, body, answer = await desk.call("GET", "/nothing", **{"x-request-id": "a b" * 50})
    assert answer.headers["x-request-id"] == body["request_id"]
    assert str(uuid.UUID(body["request_id"])) == body["request_id"]


async def test_engine_is_drained_from_the_routers_own_host_only(desk: Desk) -> None:
    """Whoever scrapes metrics over the network may look, not stop an engine's work."""
    desk.rise("a", "b", "c")
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=connector) as stranger:
        async with stranger.post(f"{desk.url}/admin/engines/a/drain") as answer:
            assert answer.status == 403
            assert (await answer.json())["error"]["type"] == "router_permission_error"
        async with stranger.get(f"{desk.url}/admin/engines") as answer:
            assert not any(engine["draining"] for engine in (await answer.json())["engines"])
