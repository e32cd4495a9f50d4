"""What a lab consists of: one plan, made as for a real host, and the commands that run its services as processes."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from stackplan import PlanError, edge_config, plan, router_configs
from stackplan.__main__ import edge_templates
from stackplan.render import render_edge
from tests.lab.errors import LabError
from tests.lab.processes import ROOT, Command

HOST = "lab"
LOOPBACK = "127.0.0.1"
_SPAN = 10  # ports from one decider's to the next one's, then the engines
_MOST_DECIDERS = 64
_MOST_ENGINES = 1_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A lab as asked for. `port` is the edge's; every other port follows it. `engine_options` go to each engine.

    `calibrate`: measure engines as a deployment does; else what `prefill_rate` says is believed.
    `timeouts`: those of `stack_edge.timeouts` that are not the plan's own. `compiled`: the folder that
    `router/compile.py` filled, for routers as the image has them; else they run from their source.
    `engine_key_file`: holds the key that engines want to see, where they want one.
    """

    engines: int
    port: int
    model: str
    haproxy: str
    haproxy_version: str
    prefill_rate: float
    decide_milliseconds: int | None
    engine_options: tuple[str, ...]
    state: Path
    deciders: int = 1
    calibrate: bool = False
    timeouts: Mapping[str, int] = field(default_factory=dict)
    compiled: Path | None = None
    engine_key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Lab:
    """Files to write, commands to run (engines and routers, then the edge), and where everything answers."""

    files: Mapping[Path, str]
    engines: Sequence[Command]
    routers: Sequence[Command]
    edge: Command
    ports: Sequence[int]
    plan: Mapping[str, Any]

    @property
    def commands(self) -> list[Command]:
        """Every command, in starting order."""
        return [*self.engines, *self.routers, self.edge]


def design(wanted: Wanted) -> Lab:
    """The whole lab, with nothing touched yet."""
    planned = _plan(wanted)
    files = _files(wanted, planned)
    services = planned["services"]
    engines = [_engine(wanted, service) for service in services if service["kind"] == "engine"]
    used = [port for service in services if service["kind"] in _KINDS for port in service["ports"]]
    return Lab(
        files=files,
        engines=engines,
        routers=[_router(wanted, service) for service in services if service["kind"] == "router"],
        edge=_edge(wanted, _ports(planned, "edge")["http"]),
        ports=[port["port"] for port in used],
        plan=planned,
    )


_KINDS = ("engine", "router", "edge")


def report(lab: Lab, wanted: Wanted, pids: Mapping[str, int]) -> dict[str, Any]:
    """The JSON object `up` prints."""
    edge = _ports(lab.plan, "edge")
    return {
        "endpoint": f"http://{edge['http']}",
        "model": wanted.model,
        "engines": [{"name": one.name, "url": _base(one.ready_url), "pid": pids[one.name]} for one in lab.engines],
        "routers": [
            {"name": one.name, "pid": pids[one.name], "admin_url": _base(one.ready_url)} for one in lab.routers
        ],
        "edge": {"name": "edge", "pid": pids["edge"], "metrics_url": f"http://{edge['metrics']}/metrics"},
        "state": str(wanted.state),
    }


def _plan(wanted: Wanted) -> dict[str, Any]:
    if not 1 <= wanted.engines <= _MOST_ENGINES:
        raise LabError(f"--engines {wanted.engines}: 1 to {_MOST_ENGINES} are allowed")
    if not 1 <= wanted.deciders <= _MOST_DECIDERS:
        raise LabError(f"--deciders {wanted.deciders}: 1 to {_MOST_DECIDERS} are allowed")
    model = {"name": wanted.model, "source": "/simulated", "replicas": wanted.engines, "gpus_per_replica": 0}
    timeouts = {**wanted.timeouts, "decide_milliseconds": wanted.decide_milliseconds}
    intent = {
        "models": [{**model, "prefill_tokens_per_second": int(wanted.prefill_rate)}],
        "engines": {
            "device": "cpu",
            "base_port": wanted.port + _SPAN * wanted.deciders,
            "api_key_enabled": wanted.engine_key_file is not None,
        },
        "router": {"processes": wanted.deciders, "calibrate": wanted.calibrate}
        | {f"{name}_port": wanted.port + 2 + at for at, name in enumerate(("spop", "http", "events", "proxy"))},
        "edge": {
            "bind_address": LOOPBACK,
            "bind_port": wanted.port,
            "metrics_port": wanted.port + 1,
            "haproxy_version": wanted.haproxy_version,
            "runtime_socket": str(wanted.state / "haproxy.sock"),
            "timeouts": timeouts,
        },
    }
    hosts = [{"name": HOST, "address": LOOPBACK, "groups": ["edge", "engines"], "gpus": 0}]
    try:
        return plan(intent, hosts, str(wanted.state))
    except PlanError as problem:
        raise LabError("\n".join(problem.problems)) from problem


def _files(wanted: Wanted, planned: Mapping[str, Any]) -> dict[Path, str]:
    key, text = wanted.engine_key_file, wanted.state / "engine.map"
    edge = {**edge_config(planned, HOST), "spoe_path": str(wanted.state / "spoe.cfg")}
    if key:
        edge = {**edge, "engine_key_path": str(text)}
    return {
        **({text: f"engine Bearer {key.read_text().strip()}\n"} if key else {}),
        **{wanted.state / name: text for name, text in render_edge(edge, edge_templates()).items()},
        **{
            wanted.state / f"{name}.yml": _settings(wanted, config)
            for name, config in router_configs(planned, HOST).items()
        },
    }


def _settings(wanted: Wanted, config: dict[str, Any]) -> str:
    """A router's file; what the routers share lies beside it."""
    decider = config["decider"]
    here = {**decider, "shared": str(wanted.state) if decider["shared"] else ""}
    key = {"engine_key_file": str(wanted.engine_key_file or "")}
    return yaml.safe_dump({**config, "decider": here, **key}, sort_keys=False)


def _engine(wanted: Wanted, service: Mapping[str, Any]) -> Command:
    port = service["ports"][0]["port"]
    options = ["--name", service["name"], "--port", str(port), "--model", wanted.model]
    rate = ["--prefill-rate", str(wanted.prefill_rate)]
    # What the plan tells a real engine about connections and headers holds for the simulated one.
    held = ["--hold-headers"] if any("HoldHeaders" in word for word in service["command"]) else []
    argv = [*_python("tests.engines"), *options, *rate, *held, *wanted.engine_options]
    env = {name: value for name, value in service["env"].items() if name == "VLLM_HTTP_TIMEOUT_KEEP_ALIVE"}
    return _command(wanted, service["name"], argv, f"http://{LOOPBACK}:{port}/health", env)


def _router(wanted: Wanted, service: Mapping[str, Any]) -> Command:
    # -P: not the working folder's package, where that has one, but the first on PYTHONPATH.
    argv = [sys.executable, "-P", "-m", "router", "--config", str(wanted.state / f"{service['name']}.yml")]
    http = next(port for port in service["ports"] if port["name"] == "http")
    command = _command(wanted, service["name"], argv, f"http://{http['address']}:{http['port']}/readyz", {})
    if wanted.compiled is None:
        return command
    if not list((wanted.compiled / "router").glob("pick.*.so")):
        raise LabError(f"--compiled {wanted.compiled}: no compiled router there: run router/compile.py")
    path = os.pathsep.join((str(wanted.compiled), command.env["PYTHONPATH"]))
    return replace(command, env={**command.env, "PYTHONPATH": path})


def _edge(wanted: Wanted, http: str) -> Command:
    argv = [wanted.haproxy, "-db", "-f", str(wanted.state / "haproxy.cfg")]
    return _command(wanted, "edge", argv, f"http://{http}/ready", {})


def _command(wanted: Wanted, name: str, argv: list[str], ready: str, env: Mapping[str, str]) -> Command:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    log = wanted.state / "logs" / f"{name}.log"
    return Command(name, argv, {**env, "PYTHONPATH": os.pathsep.join(paths)}, ready, str(log))


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _ports(planned: Mapping[str, Any], kind: str) -> dict[str, str]:
    service = next(service for service in planned["services"] if service["kind"] == kind)
    return {port["name"]: f"{port['address']}:{port['port']}" for port in service["ports"]}


def _base(url: str) -> str:
    return url.rpartition("/")[0]
