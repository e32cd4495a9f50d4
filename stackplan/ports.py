"""Ports: within range, and one service each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from stackplan.model import Listen, Service

HIGHEST = 65535


def port_problems(services: Sequence[Service]) -> Iterator[str]:
    """Two services of one host on one port, and engines numbered beyond the last port."""
    for host in dict.fromkeys(service.host for service in services):
        claims = [(s.name, listen) for s in services if s.host == host for listen in s.ports]
        for (first, one), (second, two) in combinations(claims, 2):
            if clash(one, two):
                yield (
                    f"host {host}: port {two.port} was found twice, for {first} ({one.name}) and {second} ({two.name}):"
                    " each needs its own; change one of them"
                )
        for name, listen in claims:
            if listen.port > HIGHEST:
                yield (
                    f"host {host}: port {listen.port} was found for {name}: at most {HIGHEST} is allowed; "
                    f"lower stack_engines.{'kv_events_base_port' if listen.name.startswith('kv-') else 'base_port'}"
                )


def clash(one: Listen, two: Listen) -> bool:
    """Same port on the same address, or on an address the other one covers."""
    same = one.address == two.address or "0.0.0.0" in (one.address, two.address)
    return same and one.port == two.port
