"""A whole data plane on loopback: HAProxy with the rendered configuration, the router, and small engines."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from stackplan.__main__ import edge_templates
from stackplan.configs import ROUTES
from stackplan.render import render_edge
from tests.support.clients import Answer, call
from tests.support.logs import json_lines
from tests.support.processes import Child, free_ports, wait_until

CHAT = "/v1/chat/completions"
_START_SECONDS = 60.0  # for a machine that does much else


def haproxy() -> str:
    """The HAProxy under test: IRONRACK_HAPROXY, else the one on PATH."""
    found = os.environ.get("IRONRACK_HAPROXY") or shutil.which("haproxy")
    assert found, "haproxy: not on PATH: install the distribution's haproxy, or set IRONRACK_HAPROXY"
    return found


def haproxy_version(program: str) -> str:
    """Major and minor, as `3.0`."""
    text = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stdout
    return ".".join(text.split("version ")[1].split(".")[:2])


def edge_config(models: dict[str, int], count: int = 1, **changes: Any) -> dict[str, Any]:
    """What the edge's templates take: models with so many engines each, `count` routers; `changes` replace keys."""
    ports = iter(free_ports(2 + 4 * count + sum(models.values())))
    bind, metrics = next(ports), next(ports)
    deciders = [
        {name: f"127.0.0.1:{next(ports)}" for name in ("spop", "http", "events", "proxy")} for _ in range(count)
    ]
    config: dict[str, Any] = {
        "name": "edge-test",
        "haproxy_version": "3.0",
        "bind": [{"address": "127.0.0.1", "port": bind}],
        "metrics": {"address": "127.0.0.1", "port": metrics},
        "runtime_socket": "/run/haproxy/admin.sock",
        "handover_path": "/run/haproxy/peers.sock",
        "peer_name": "edge-test",
        "threads": 1,
        "maxconn": 4096,
        "buffer_bytes": 131072,
        "max_body_bytes": 4194304,
        "retries": 3,
        "timeouts": {
            "client_seconds": 60,
            "request_seconds": 2,
            "keep_alive_seconds": 30,
            "connect_seconds": 2,
            "queue_seconds": 5,
            "server_seconds": 60,
            "pool_idle_seconds": 5,
            "decide_milliseconds": 500,
            "check_interval_seconds": 1,
        },
        "session_headers": ["x-session-id", "session_id"],
        "routes": ROUTES,
        "router": {name: deciders[0][name] for name in ("spop", "http", "events")},
        "deciders": deciders,
        "spoe_path": "/usr/local/etc/haproxy/spoe.cfg",
        "models": [
            {
                "name": model,
                "backend": f"model-{_slug(model)}",
                "servers": [
                    {"name": f"engine-{_slug(model)}-{index}", "address": "127.0.0.1", "port": next(ports)}
                    for index in range(engines)
                ],
            }
            for model, engines in models.items()
        ],
        "bindings_size": 10000,
        "bindings_ttl_seconds": 600,
    }
    return copy.deepcopy(config | changes)


def _slug(model: str) -> str:
    return model.replace("/", "-")


def router_config(edge: dict[str, Any], index: int = 0) -> dict[str, Any]:
    """The own file of one of the edge's routers, for the same engines."""
    return {
        "listen": edge["deciders"][index],
        "decider": {"index": index, "of": len(edge["deciders"])},
        "models": [{"name": model["name"], "backend": model["backend"]} for model in edge["models"]],
        "engines": [
            {
                "name": server["name"],
                "url": f"http://{server['address']}:{server['port']}",
                "model": model["name"],
                "prefill_tokens_per_second": 8000.0,
            }
            for model in edge["models"]
            for server in model["servers"]
        ],
        "sessions": {"headers": ["x-session-id"]},
        "health": {"interval_seconds": 0.2, "timeout_seconds": 1.0, "fail_after": 2, "rise_after": 1},
        "edge": {"buffer_bytes": edge["buffer_bytes"]},
        **_traces(edge),
    }


def _traces(edge: dict[str, Any]) -> dict[str, Any]:
    """Where spans go, where a test has a collector; how many may wait for it."""
    if "spans_to" not in edge:
        return {}
    return {"traces": {"endpoint": edge["spans_to"], "capacity": edge.get("spans_waiting", 2048)}}


def render(config: dict[str, Any], folder: Path) -> Path:
    """Write haproxy.cfg and spoe.cfg; return the first one's path."""
    for name, text in render_edge(config, edge_templates()).items():
        (folder / name).write_text(text)
    return folder / "haproxy.cfg"


@dataclass
class Stack:
    """Started processes by name, and what a client of them does.

    `headers` go with the first requests; `engines_run`: the engines are another stack's.
    """

    folder: Path
    config: dict[str, Any]
    engine_keep_alive_seconds: float = 600.0
    headers: dict[str, str] = field(default_factory=dict)
    engines_run: bool = False
    engines: dict[str, Child] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        program = haproxy()
        self.port = int(self.config["bind"][0]["port"])
        self.config |= {
            "haproxy_version": haproxy_version(program),
            "spoe_path": str(self.folder / "spoe.cfg"),
            "runtime_socket": str(self.folder / "admin.sock"),
            "handover_path": str(self.folder / "peers.sock"),
        }
        path = render(self.config, self.folder)
        self.routers = [self._router(index) for index in range(len(self.config["deciders"]))]
        self.edge = Child([program, "-W", "-db", "-f", str(path)], self.folder / "edge.log")
        self.router = self.routers[0]
        for server in (server for model in self.config["models"] for server in model["servers"]):
            argv = [sys.executable, "-m", "tests.support.upstream", server["name"], str(server["port"])]
            self.ports[server["name"]] = server["port"]
            if self.engines_run:
                continue
            self.engines[server["name"]] = Child(
                [*argv, str(self.engine_keep_alive_seconds)], self.folder / f"{server['name']}.log"
            )

    def _router(self, index: int) -> Child:
        name = f"router-{index}" if index else "router"
        settings = self.folder / f"{name}.yml"
        settings.write_text(yaml.safe_dump(router_config(self.config, index)))
        return Child([sys.executable, "-m", "router", "--config", str(settings)], self.folder / f"{name}.log")

    def start(self) -> None:
        """Start everything and wait until the router decides."""
        for child in (*self.engines.values(), *self.routers, self.edge):
            child.start()
        self.until_decided()

    def stop(self) -> None:
        """End everything, whatever state it is in."""
        for child in (self.edge, *self.routers, *self.engines.values()):
            child.stop()

    def until_decided(self) -> None:
        """Wait until every model's requests are decided by the router."""
        for model in self.config["models"]:
            wait_until(partial(self._decided, model["name"]), f"the router decides for {model['name']}", _START_SECONDS)

    def _decided(self, model: str) -> bool:
        answer = self.post({"model": model, "messages": [{"role": "user", "content": "hello"}]}, **self.headers)
        return answer.status == 200 and answer.headers["x-route-reason"] not in {"fallback", "retry"}

    def post(self, body: object, path: str = CHAT, **headers: str) -> Answer:
        """One request on a connection of its own; `body` is JSON unless it is bytes, `x_name` is the header x-name."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(self.port, "POST", path, data, {"content-type": "application/json"} | named)

    def chat(self, session: str = "", **wish: object) -> Answer:
        """A chat request of the first model, in a session if one is named."""
        body = self.question(**wish)
        return self.post(body, **({"x_session_id": session} if session else {}))

    def question(self, **wish: object) -> dict[str, object]:
        """A valid chat body of the first model, with wishes for the engine."""
        model = self.config["models"][0]["name"]
        return {"model": model, "messages": [{"role": "user", "content": "hello"}], **wish}

    def get(self, path: str, port: int = 0) -> Answer:
        """GET, from the edge unless another port is given."""
        return call(port or self.port, "GET", path)

    def stats(self, engine: str) -> Counter[str]:
        """What an engine has counted."""
        return Counter(json.loads(self.get("/stats", self.ports[engine]).body))

    def total(self, name: str) -> int:
        """A counter summed over the engines that run."""
        return sum(self.stats(engine)[name] for engine, child in self.engines.items() if child.running)

    def lines(self) -> list[dict[str, Any]]:
        """The access log so far."""
        return json_lines(self.edge.log)

    def line(self, request_id: str) -> dict[str, Any]:
        """The access line of one request, once it is written."""
        wait_until(lambda: any(line["id"] == request_id for line in self.lines()), f"the access line of {request_id}")
        return next(line for line in self.lines() if line["id"] == request_id)

    def kill(self, engine: str) -> None:
        """End an engine at once, connections and all."""
        self.engines[engine].signal(signal.SIGKILL)
