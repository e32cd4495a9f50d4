"""The real HAProxy asks the real router: both decide over the wire, and losing the router loses no request."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from aiohttp import web

from tests.support.logs import json_lines
from tests.support.processes import free_ports
from tests.support.until import until

HAPROXY = os.environ.get("IRONRACK_HAPROXY") or shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
BUFFER = 131_072
ROOT = Path(__file__).parents[2]
ENGINES = ("engine-a", "engine-b")

EDGE = """
global
    log stdout format raw local0 warning
    nbthread 1
    tune.bufsize {buffer}
    tune.maxrewrite 4096
ring events
    format raw
    maxlen 8192
    size 1048576
    timeout connect 1s
    timeout server 10s
    server router 127.0.0.1:{events} log-proto octet-count
defaults
    mode http
    timeout client 30s
    timeout connect 2s
    timeout server 30s
frontend edge
    bind 127.0.0.1:{edge}
    log ring@events len 8192 format raw local0 info
    log-format '{{{log}}}'
    filter spoe engine ironrack config {spoe}
    http-request set-var(txn.id) uuid()
    http-request set-var(txn.session) req.hdr(x-session-id)
    http-request set-var(txn.session_source) str(x-session-id) if {{ var(txn.session) -m found }}
    http-request set-var(txn.tenant) str(-)
    http-request wait-for-body time 10s
    http-request send-spoe-group ironrack decide
    acl refused var(txn.router.status) -m int 400
    http-request return status 400 content-type application/json lf-string %[var(txn.router.body)] if refused
    acl unknown var(txn.router.status) -m int 404
    http-request return status 404 content-type application/json lf-string %[var(txn.router.body)] if unknown
    http-response wait-for-body time 10s at-least 1
    http-response send-spoe-group ironrack begun
    http-response set-header x-route-reason %[var(txn.router.why)]
    http-response set-header x-served-by %[srv_name]
    default_backend model-tiny
backend model-tiny
    balance roundrobin
    use-server %[var(txn.router.server)] if {{ var(txn.router.server) -m found }}
    server engine-a 127.0.0.1:{engine}
    server engine-b 127.0.0.1:{engine}
backend router-decide
    mode {spop_mode}
    timeout connect 100ms
    timeout server 5m
    option spop-check
    server router 127.0.0.1:{spop} check inter 200ms rise 1 fall 1
"""

SPOE = """
[ironrack]
spoe-agent router
    groups decide begun
    log global
    option dontlog-normal
    option var-prefix router
{hello}
    timeout processing 5s
    use-backend router-decide
spoe-group decide
    messages ask
spoe-message ask
    args {arguments}
spoe-group begun
    messages begun
spoe-message begun
    args id=var(txn.id) server=srv_name status=status
"""

LOG = ",".join(
    [
        '"ts":%Ts.%ms,"id":"%[var(txn.id)]","status":%ST,"server":"%s","chosen":"%[var(txn.router.server)]"',
        '"state":"%tsc","why":"%[var(txn.router.why)]","model":"%[var(txn.router.model)]","retries":"%rc"',
        '"headers_ms":%Tr,"total_ms":%Ta,"bytes_out":%B',
    ]
)
ARGUMENTS = " ".join(
    [
        "id=var(txn.id) method=method path=path content_type=req.hdr(content-type) session=var(txn.session)",
        "source=var(txn.session_source) tenant=var(txn.tenant) size=req.body_size body=req.body",
    ]
)


@dataclass
class Edge:
    """One HAProxy, one router, one upstream that plays two engines."""

    folder: Path
    ports: dict[str, int]
    http: aiohttp.ClientSession
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def start_router(self) -> None:
        self.start("router", sys.executable, "-m", "router", "--config", str(self.folder / "router.yml"))

    def start_haproxy(self) -> None:
        assert HAPROXY, "no haproxy on PATH and no IRONRACK_HAPROXY"
        self.start("haproxy", HAPROXY, "-db", "-f", str(self.folder / "haproxy.cfg"))

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text("utf-8")

    def told(self) -> list[dict[str, Any]]:
        """The router's lines of requests that are over."""
        return [line for line in json_lines(self.folder / "router.log") if "uncached_tokens" in line]

    async def chat(self, session: str, octets: int = 1000) -> tuple[int, str, str]:
        """Ask once with a body of about so many octets: status, reason, engine."""
        content = "word " * (octets // 5)
        # `model` last, as OpenAI's client writes it: only a router that saw the whole body can know it.
        body = json.dumps({"messages": [{"role": "user", "content": content}], "model": "tiny"})
        return await self.post(body.encode(), session)

    async def post(self, body: bytes, session: str) -> tuple[int, str, str]:
        headers = {"content-type": "application/json", "x-session-id": session}
        async with self.http.post(
            f"http://127.0.0.1:{self.ports['edge']}/v1/chat/completions", data=body, headers=headers
        ) as answer:
            await answer.read()
            return answer.status, answer.headers.get("x-route-reason", ""), answer.headers.get("x-served-by", "")

    async def metrics(self) -> dict[str, float]:
        async with self.http.get(f"http://127.0.0.1:{self.ports['http']}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    async def decided(self) -> bool:
        """Whether the router, not the fallback, answers now."""
        return (await self.chat("probe"))[1] != ""


def write_settings(folder: Path, ports: dict[str, int]) -> None:
    assert HAPROXY, "no haproxy on PATH and no IRONRACK_HAPROXY"
    version = re.search(r"version (\d+)\.(\d+)", subprocess.check_output([HAPROXY, "-v"], text=True))
    assert version is not None
    modern = (int(version[1]), int(version[2])) >= (3, 1)
    spoe = folder / "spoe.cfg"
    hello = "" if modern else "    timeout hello 500ms\n    timeout idle 30s"
    spoe.write_text(SPOE.format(hello=hello, arguments=ARGUMENTS), "utf-8")
    edge = EDGE.format(**ports, buffer=BUFFER, spoe=spoe, spop_mode="spop" if modern else "tcp", log=LOG)
    (folder / "haproxy.cfg").write_text(edge, "utf-8")
    urls = [f"http://127.0.0.1:{ports['engine']}", f"http://localhost:{ports['engine']}"]
    settings = {
        "listen": {name: f"127.0.0.1:{ports[name]}" for name in ("spop", "http", "events")},
        "models": [{"name": "tiny", "backend": "model-tiny"}],
        "engines": [{"name": name, "url": url, "model": "tiny"} for name, url in zip(ENGINES, urls, strict=True)],
        "sessions": {"headers": ["x-session-id"]},
        "health": {"interval_seconds": 0.2, "timeout_seconds": 2},
        "edge": {"buffer_bytes": BUFFER},
    }
    (folder / "router.yml").write_text(yaml.safe_dump(settings), "utf-8")


async def upstream(request: web.Request) -> web.Response:
    """Play an engine: healthy, with vLLM's cache metric, answering anything."""
    if request.path == "/metrics":
        return web.Response(text='vllm:kv_cache_usage_perc{engine="0"} 0.25\nprocess_start_time_seconds 7.0\n')
    await request.read()
    return web.Response(text='{"ok":true}', content_type="application/json")


@pytest_asyncio.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    names = ("edge", "spop", "http", "events", "engine")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    write_settings(tmp_path, ports)
    async with AsyncExitStack() as stack:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", upstream)
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", ports["engine"]).start()
        http = await stack.enter_async_context(aiohttp.ClientSession())
        running = Edge(tmp_path, ports, http)
        stack.callback(stop, running)
        running.start_router()
        running.start_haproxy()
        await until(running.decided, "the router decides", 30)
        yield running


def stop(edge: Edge) -> None:
    for process in edge.processes.values():
        process.kill()
        process.wait()


async def idle(edge: Edge) -> bool:
    metrics = await edge.metrics()
    load = [value for name, value in metrics.items() if re.match("ironrack_router_(leases|engine_(in_fl|unc))", name)]
    return sum(load) == 0 and metrics["ironrack_router_events_total"] > 0


@pytest.mark.parametrize("octets", [1000, 100_000])
async def test_session_is_decided_whole_and_kept_by_the_router(edge: Edge, octets: int) -> None:
    """A body up to the edge's buffer reaches the router whole, in however many frames, and its session stays."""
    status, why, engine = await edge.chat("s", octets)
    assert (status, why) == (200, "new")
    for _ in range(5):
        assert await edge.chat("s", octets) == (200, "home", engine)
    await until(lambda: idle(edge), "the sum of leases is 0")
    metrics = await edge.metrics()
    assert metrics["ironrack_router_events_garbage_total"] == 0
    assert metrics["ironrack_router_internal_errors_total"] == 0
    assert metrics['ironrack_router_key_sources_total{source="x-session-id"}'] >= 6
    assert sum(value for name, value in metrics.items() if "spop_disconnects" in name and '"0"' not in name) == 0
    assert metrics[f'ironrack_router_outcomes_total{{engine="{engine}",class="2xx"}}'] >= 6
    assert metrics['ironrack_router_engine_kv_usage_ratio{engine="engine-a",model="tiny"}'] == 0.25


async def test_concurrent_large_bodies_are_all_decided(edge: Edge) -> None:
    """Fragments of many questions at once are put together without loss."""
    answers = await asyncio.gather(*(edge.chat(f"s{number}", 90_000) for number in range(60)))
    assert {(status, why) for status, why, _ in answers} == {(200, "new")}


async def test_refusal_reaches_the_client_as_the_router_wrote_it(edge: Edge) -> None:
    """Malformed JSON and an unknown model are the router's to refuse."""
    assert (await edge.post(b"{", "s"))[0] == 400
    assert (await edge.post(b'{"model":"other","messages":[{"role":"user","content":"x"}]}', "s"))[0] == 404


async def test_completed_requests_are_one_json_line_each(edge: Edge) -> None:
    """What the edge tells is joined with what was decided and written once."""
    await edge.chat("s", 4000)

    await until(lambda: bool(edge.told()), "the line is written")
    line = edge.told()[0]
    assert (line["status"], line["model"], line["why"]) == (200, "tiny", "new")
    assert line["prompt_tokens"] >= line["uncached_tokens"] >= 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_no_request_fails_when_the_router_goes_and_comes_back(edge: Edge, number: signal.Signals) -> None:
    """Killed or stopped under load, the router costs decisions and no request; back again, it decides again."""
    answers: list[tuple[int, str, str]] = []
    done = asyncio.Event()

    async def load(session: str) -> None:
        while not done.is_set():
            answers.append(await edge.chat(session))

    async with asyncio.TaskGroup() as tasks:
        for worker in range(8):
            tasks.create_task(load(f"s{worker}"))
        await until(lambda: len(answers) > 50, "load", 30)
        edge.processes["router"].send_signal(number)
        code = await asyncio.to_thread(edge.processes["router"].wait)
        await until(lambda: answers[-1][1] == "", "the edge decides alone", 30)
        edge.start_router()
        await until(lambda: answers[-1][1] != "", "the router decides again", 30)
        done.set()
    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    assert {status for status, *_ in answers} == {200}
