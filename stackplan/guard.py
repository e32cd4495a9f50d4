"""Who may ask the edge for what: its listeners beyond the first, its certificate, and the keys it knows."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

SECRETS = "/run/secrets/ironrack"  # inside the edge's container
_HAPROXY = 99  # the user of HAProxy's images

Plan = Mapping[str, Any]


def guard_config(plan: Plan, host: str) -> dict[str, Any]:
    """The part of `edge_config` that says who may ask."""
    edge = plan["settings"]["edge"]
    listens = {port["name"]: port for port in _edge(plan, host)["ports"]}
    tls, admin = edge["tls"], listens.get("admin")
    return {
        "tls": {"certificate": f"{SECRETS}/tls.pem", "hsts_seconds": tls["hsts_seconds"]} if uses_tls(edge) else None,
        "plain": {**_endpoint(listens["plain"]), "acme": tls["acme_responder"] or ""} if "plain" in listens else None,
        "auth": {"keys_path": f"{SECRETS}/keys.map"} if edge["tenants"] else None,
        "tenants": [_tenant(tenant, plan["settings"]["models"]) for tenant in edge["tenants"]],
        "handover_path": handover_path(edge["runtime_socket"]),
        "peers": _peers(plan),
        "peer_name": f"edge-{host}",
        "admin": {**_endpoint(admin), "token_path": f"{SECRETS}/admin-tokens"} if admin else None,
        "engine_key_path": f"{SECRETS}/engine.map" if plan["settings"]["engines"]["api_key_enabled"] else "",
    }


def handover_path(runtime_socket: str) -> str:
    """Where an edge's next process is told what this one knows: beside its runtime socket, so no port is needed."""
    return f"{runtime_socket.rsplit('/', 1)[0]}/peers.sock"


def edge_secrets(plan: Plan, host: str) -> dict[str, Any]:
    """What only the edge on this host may read: `directory`, `owner` (a user's number), `files` (text by name).

    `certificate`: None, or `path` and where that is (`source`: controller, host, or self_signed). `engine_key`: whether
    the engines' key belongs there too. `paths`: every file that will be there.
    """
    edge, directory = plan["settings"]["edge"], f"{plan['root']}/secrets/edge"
    keyed = plan["settings"]["engines"]["api_key_enabled"]
    files = {}
    if edge["tenants"]:
        files["keys.map"] = "".join(_lines(tenant) for tenant in edge["tenants"])
    if edge["admin"]["token_hash"]:
        files["admin-tokens"] = edge["admin"]["token_hash"] + "\n"
    return {
        "directory": directory,
        "owner": 0 if _edge(plan, host)["user"] else _HAPROXY,
        "files": files,
        "certificate": _certificate(edge["tls"]) if uses_tls(edge) else None,
        "engine_key": keyed,
        "paths": [
            f"{directory}/{name}"
            for name in [*files, *(["tls.pem"] if uses_tls(edge) else []), *(["engine.map"] if keyed else [])]
        ],
    }


def router_tenants(plan: Plan) -> list[dict[str, Any]]:
    """The part of router.yml about tenants: which models, how many tokens, which class."""
    return [
        {
            "name": tenant["name"],
            "models": tenant["models"],
            "tokens_per_minute": tenant["tokens_per_minute"],
            "class": tenant["priority_class"],
            **({"salted": True} if tenant["cache_salt"] else {}),
        }
        for tenant in plan["settings"]["edge"]["tenants"]
    ]


def _tenant(tenant: Mapping[str, Any], models: list[Mapping[str, Any]]) -> dict[str, Any]:
    """A tenant as the edge knows it; `models`: every name it may ask for, empty where it may ask for all."""
    kept = {key: tenant[key] for key in ("name", "requests_per_minute", "concurrency", "cache_salt")}
    others = {model["name"]: names_of(model) for model in models}
    listed = [name for each in tenant["models"] for name in others.get(each, [each])]
    return {**kept, "models": list(dict.fromkeys(listed))}


def names_of(model: Mapping[str, Any]) -> list[str]:
    """Every name under which a model, or an adapter of it, is asked for."""
    return [model["name"], *model["aliases"], *(adapter["name"] for adapter in model["adapters"])]


def uses_tls(edge: Mapping[str, Any]) -> bool:
    """Whether clients speak TLS with this edge."""
    return bool(edge["tls"]["certificate"] or edge["tls"]["self_signed"])


def _lines(tenant: Mapping[str, Any]) -> str:
    limits = f"{tenant['requests_per_minute']}|{tenant['concurrency']}"
    salt = _salt(tenant) if tenant["cache_salt"] and tenant["key_hashes"] else ""
    return "".join(f"{digest} {tenant['name']}|{limits}|{salt}\n" for digest in tenant["key_hashes"])


def _salt(tenant: Mapping[str, Any]) -> str:
    """A text that other tenants cannot guess and that stays while the tenant's first key does."""
    return hmac.new(tenant["key_hashes"][0].encode(), tenant["name"].encode(), hashlib.sha256).hexdigest()[:32]


def _certificate(tls: Mapping[str, Any]) -> dict[str, str]:
    if not tls["certificate"]:
        return {"source": "self_signed", "path": ""}
    return {"source": tls["certificate_on"], "path": tls["certificate"]}


def _peers(plan: Plan) -> list[dict[str, Any]]:
    edges = [service for service in plan["services"] if service["kind"] == "edge"]
    return [
        {"name": f"edge-{service['host']}", **_endpoint(port)}
        for service in edges
        for port in service["ports"]
        if port["name"] == "peers"
    ]


def _edge(plan: Plan, host: str) -> Mapping[str, Any]:
    return next(service for service in plan["services"] if service["kind"] == "edge" and service["host"] == host)


def _endpoint(listen: Mapping[str, Any]) -> dict[str, Any]:
    return {"address": listen["address"], "port": listen["port"]}
