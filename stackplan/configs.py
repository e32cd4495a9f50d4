"""What each program's configuration says, as data; templates only write it down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stackplan.derive import slug
from stackplan.guard import guard_config, names_of, router_tenants
from stackplan.services import KEYS, SHARED

Plan = Mapping[str, Any]

# What clients may reach and nothing else. vLLM has more: verbs that put it to sleep, load code or drop its caches.
_INFERENCE = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/score",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/audio/speech",
]
ROUTES: list[dict[str, Any]] = [
    *({"path": path, "methods": ["POST"], "kind": "inference"} for path in _INFERENCE),
    {"path": "/v1/models", "methods": ["GET"], "kind": "router", "below": True},  # and one model by its name
]
_ROUTING = ("gate_seconds", "kv_weight", "characters_per_token", "prefix_index", "gossip", "kv_events")
SPOE_PATH = "/usr/local/etc/haproxy/spoe.cfg"


def router_config(plan: Plan, host: str, index: int = 0) -> dict[str, Any]:
    """router.yml of one of the routers on this host."""
    mine, edge = plan["settings"]["router"], plan["settings"]["edge"]
    several = mine["processes"] > 1
    key = f"{KEYS}/engine.key" if plan["settings"]["engines"]["api_key_enabled"] else ""
    return {
        "listen": _ports(_routers(plan, host)[index]),
        "decider": {"index": index, "of": mine["processes"], "shared": SHARED if several else ""},
        "peers": _peers(plan, host),
        "models": [_routed(model) for model in plan["settings"]["models"]],
        "engines": [_engine(plan, service) for service in _kind(plan, "engine")],
        "routing": {key: mine[key] for key in _ROUTING},
        "admission": {key: value for key, value in mine["admission"].items() if value != []},
        "tenants": router_tenants(plan),
        "sessions": {
            "headers": mine["session_headers"],
            "fields": mine["session_fields"],
            "capacity": mine["session_capacity"],
            "ttl_seconds": mine["session_ttl_seconds"],
        },
        "health": {
            **{
                key: mine[f"health_{key}"]
                for key in ("interval_seconds", "timeout_seconds", "fail_after", "rise_after")
            },
            **{key: mine[key] for key in ("stall_seconds", "slow_start_seconds")},
        },
        "leases": {"ttl_seconds": mine["lease_ttl_seconds"], "capacity": mine["lease_capacity"]},
        "calibrate": {"enabled": mine["calibrate"], "tokens": mine["calibrate_tokens"]},
        "edge": {"buffer_bytes": edge["buffer_bytes"], "runtime_socket": edge["runtime_socket"]},
        "proxy": {
            **{key: edge[key] for key in ("max_body_bytes", "retries")},
            **{key: edge["timeouts"][key] for key in ("connect_seconds", "server_seconds", "request_seconds")},
        },
        "engine_key_file": key,
        **_traces(plan),
    }


def _traces(plan: Plan) -> dict[str, Any]:
    endpoint = plan["settings"]["observe"]["traces"]["endpoint"]
    return {"traces": {"endpoint": endpoint}} if endpoint else {}


def _sampling(plan: Plan) -> dict[str, Any]:
    """How many requests of a million the edge samples by itself; nothing where nobody takes spans."""
    mine = plan["settings"]["observe"]["traces"]
    return {"traces": {"per_million": round(mine["ratio"] * 1_000_000)}} if mine["endpoint"] else {}


def router_configs(plan: Plan, host: str) -> dict[str, dict[str, Any]]:
    """router.yml of every router on this host, by the service's name."""
    return {router["name"]: router_config(plan, host, at) for at, router in enumerate(_routers(plan, host))}


def edge_config(plan: Plan, host: str) -> dict[str, Any]:
    """The only input of the templates haproxy.cfg.j2 and spoe.cfg.j2, for the edge on this host."""
    mine, router = plan["settings"]["edge"], plan["settings"]["router"]
    listens = {port["name"]: port for port in _service(plan, host, "edge")["ports"]}
    copied = ("haproxy_version", "runtime_socket", "threads", "maxconn", "buffer_bytes", "max_body_bytes", "retries")
    return {
        "name": f"edge-{host}",
        "bind": [_endpoint(listens["http"])],
        "metrics": _endpoint(listens["metrics"]),
        **{key: mine[key] for key in copied},
        "timeouts": {**mine["timeouts"]},
        "session_headers": router["session_headers"],
        "priorities": any(each["priority"] for each in router["admission"]["classes"]),
        "routes": ROUTES,
        "router": _ports(_service(plan, host, "router")),
        "deciders": [_ports(router) for router in _routers(plan, host)],
        "admit_seconds": router["admission"]["queue_seconds"],
        "runtime_socket_mode": "666",  # its folder is shared with the routers alone, who are other users
        "spoe_path": SPOE_PATH,
        "models": [_model(plan, model) for model in plan["settings"]["models"]],
        "bindings_size": mine["bindings_size"],
        "bindings_ttl_seconds": mine["bindings_ttl_seconds"],
        **_sampling(plan),
        **guard_config(plan, host),
    }


def _kind(plan: Plan, kind: str) -> list[Mapping[str, Any]]:
    return [service for service in plan["services"] if service["kind"] == kind]


def _service(plan: Plan, host: str, kind: str) -> Mapping[str, Any]:
    return next(service for service in _kind(plan, kind) if service["host"] == host)


def _routers(plan: Plan, host: str) -> list[Mapping[str, Any]]:
    return [service for service in _kind(plan, "router") if service["host"] == host]


def _peers(plan: Plan, host: str) -> list[str]:
    """The HTTP sides of routers on other hosts, asked for their load where that was wanted."""
    if not plan["settings"]["router"]["gossip"]:
        return []
    return [f"http://{_ports(router)['http']}" for router in _kind(plan, "router") if router["host"] != host]


def _ports(service: Mapping[str, Any]) -> dict[str, str]:
    return {port["name"]: f"{port['address']}:{port['port']}" for port in service["ports"]}


def _endpoint(listen: Mapping[str, Any]) -> dict[str, Any]:
    return {"address": listen["address"], "port": listen["port"]}


def backend(model: Mapping[str, Any]) -> str:
    """The edge's name for a model's engines."""
    return f"model-{slug(model['name'])}"


def _routed(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model as the router knows it: other names only where there are some."""
    others = {"aliases": model["aliases"], "adapters": [adapter["name"] for adapter in model["adapters"]]}
    return {"name": model["name"], "backend": backend(model), **{key: names for key, names in others.items() if names}}


def _of_model(plan: Plan, name: str) -> Iterable[Mapping[str, Any]]:
    return (service for service in _kind(plan, "engine") if service["model"] == name)


def _engine(plan: Plan, service: Mapping[str, Any]) -> dict[str, Any]:
    model = next(model for model in plan["settings"]["models"] if model["name"] == service["model"])
    return {
        "name": service["name"],
        "url": f"http://{_ports(service)['http']}",
        "model": model["name"],
        "prefill_tokens_per_second": model["prefill_tokens_per_second"],
        **_kv_feed(service),
        **_watched(plan, service),
    }


def _watched(plan: Plan, service: Mapping[str, Any]) -> dict[str, Any]:
    """Who knows the GPUs of an engine; nothing where nobody watches them."""
    watch = plan["gpu_watch"].get(service["host"])
    if not watch or not service["gpus"]:
        return {}
    return {"gpus": service["gpus"], "gpu_watch": f"http://{watch['address']}:{watch['port']}"}


def _kv_feed(service: Mapping[str, Any]) -> dict[str, Any]:
    """Where an engine tells what it holds, for those that connect to it; nothing where it does not."""
    ports = {port["name"]: port["port"] for port in service["ports"]}
    if "kv-events" not in ports:
        return {}
    at = f"tcp://{service['address']}"
    return {"kv_events": {"endpoint": f"{at}:{ports['kv-events']}", "replay": f"{at}:{ports['kv-replay']}"}}


def _model(plan: Plan, model: Mapping[str, Any]) -> dict[str, Any]:
    servers = [{"name": s["name"], **_endpoint(s["ports"][0])} for s in _of_model(plan, model["name"])]
    return {"name": model["name"], "names": names_of(model), "backend": backend(model), "servers": servers}
