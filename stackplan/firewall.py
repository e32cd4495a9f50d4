"""Who may connect to what is not meant for clients."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from stackplan.model import Host, Listen, Service

# Clients may reach the edge itself; what people look at and the operators' listener are bound where somebody put them.
_PUBLIC = {("edge", name) for name in ("http", "plain", "admin")} | {
    (kind, "http") for kind in ("prometheus", "alertmanager", "grafana")
}

_FOR_EDGES = {("edge", "peers"), ("engine", "kv-events"), ("engine", "kv-replay")}


def firewall(hosts: Sequence[Host], services: Sequence[Service]) -> dict[str, list[dict[str, Any]]]:
    """By host: `{service, port, sources}` for every port that listens beyond loopback and is not for clients.

    Sources are addresses: the host itself, those that observe, and for engines and routers the edges. Everyone else is
    refused.
    """
    return {
        host.name: [
            {"service": service.name, "port": listen.port, "sources": _sources(host, hosts, service, listen)}
            for service in services
            if service.host == host.name
            for listen in service.ports
            if _guarded(service, listen)
        ]
        for host in hosts
    }


def _guarded(service: Service, listen: Listen) -> bool:
    beyond = not ipaddress.IPv4Address(listen.address).is_loopback
    return beyond and (service.kind, listen.name) not in _PUBLIC


def _sources(host: Host, hosts: Sequence[Host], service: Service, listen: Listen) -> list[str]:
    groups = {"observe", "edge"} if service.kind in {"engine", "router"} else {"observe"}
    if (service.kind, listen.name) in _FOR_EDGES:
        groups = {"edge"}
    others = [other.address for other in hosts if groups & other.groups and other.name != host.name]
    return [host.address, *others]
