"""Routers and edges."""

from __future__ import annotations

from observe.rules.parts import Alert

_DAY = 86400


def router_alerts() -> tuple[Alert, ...]:
    """Deciding, waiting, and the settings in force."""
    return (
        Alert(
            "RouterDown",
            "critical",
            "max by (host) (ironrack:edge_fallback_active) == 1 or ironrack:router_up == 0",
            "The router of {{ $labels.host }} is away; the edge chooses engines by itself",
            "Requests are still served, by the edge's own hash: sessions stay, load is no longer weighed.",
            "router",
            "1m",
        ),
        Alert(
            "QueueGrowing",
            "warning",
            "sum(ironrack:queue_requests) > 0.5 * sum(ironrack:queue_capacity_requests > 0)"
            " or (sum(ironrack:queue_requests) > 10 and deriv(sum(ironrack:queue_requests)[10m:30s]) > 0)",
            "Requests wait for an engine, and more of them all the time",
            "{{ $value | humanize }} requests wait; when the waiting room is full, further ones are refused with 429.",
            "router",
            "5m",
        ),
        Alert(
            "AffinityInert",
            "warning",
            "ironrack:affinity_inert == 1 and on () sum(ironrack:decisions:rate) > 0.1",
            "Sessions are not recognised, so their caches are not used",
            "Reason: {{ $labels.reason }}. never_repeat: no session came twice; unnamed: clients send no session key.",
            "router",
            "15m",
        ),
        Alert(
            "ConfigReloadFailed",
            "warning",
            "ironrack:router_config_ok == 0",
            "Router {{ $labels.router }} on {{ $labels.host }} refused its new settings",
            "It goes on with the last good ones, {{ with printf `ironrack:router_config_age_seconds{host=%q,router=%q}`"
            " $labels.host $labels.router | query }}{{ . | first | value | humanizeDuration }}{{ end }} old.",
            "router",
            "1m",
        ),
        Alert(
            "RouterFaults",
            "warning",
            "ironrack:router_internal_errors:rate > 0",
            "Router {{ $labels.router }} on {{ $labels.host }} has faults of its own",
            "{{ $value | humanize }} questions a second are answered with nothing: the edge decides those by itself.",
            "router",
            "5m",
        ),
        Alert(
            "CompletionLinesLost",
            "warning",
            "ironrack:router_leases_expired:rate > 0 or ironrack:router_events_garbage:rate > 0"
            " or ironrack:router_leases_reconciled:rate > 0.01 * ironrack:router_decisions:rate"
            " or (ironrack:router_decisions:rate > 0.1 unless ironrack:router_events:rate > 0)",
            "Router {{ $labels.router }} on {{ $labels.host }} does not hear how requests end",
            "Its picture of the load goes wrong until that is noticed; {{ $value | humanize }} a second are lost.",
            "router",
            "10m",
        ),
    )


def edge_alerts() -> tuple[Alert, ...]:
    """Where clients connect."""
    return (
        Alert(
            "EdgeDown",
            "critical",
            "ironrack:edge_up == 0",
            "The edge on {{ $labels.host }} does not answer",
            "Clients that use this address get no connection, or HAProxy's metrics port alone is shut.",
            "edge",
            "30s",
        ),
        _certificate("CertificateExpiring", "warning", 2, 14),
        _certificate("CertificateAboutToExpire", "critical", None, 2),
    )


def _certificate(name: str, severity: str, above: int | None, below: int) -> Alert:
    left = "ironrack:edge_certificate_left_seconds"
    expr = f"{left} < {below * _DAY}" + (f" and {left} >= {above * _DAY}" if above else "")
    return Alert(
        name,
        "critical" if severity == "critical" else "warning",
        expr,
        f"The certificate of the edge on {{{{ $labels.host }}}} runs out in less than {below} days",
        "{{ $labels.certificate }} is good for {{ $value | humanizeDuration }} more; then clients refuse to connect.",
        "edge",
        "5m",
    )
