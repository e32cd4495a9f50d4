"""What the routers decided, and what they know of the engines."""

from __future__ import annotations

from observe.rules.parts import Group, Record, quantiles

_RAW = "ironrack_router_"
_FLOWS = ("decisions", "events")
_FAULTS = ("leases_expired", "leases_reconciled", "internal_errors", "events_garbage", "log_dropped")


def routers(window: str) -> tuple[Group, ...]:
    """The groups that read routers; `window` is that of every rate."""
    return (
        Group("decisions", 15, (*_decisions(window), *_affinity(window), *_waiting(window), *_outcomes(window))),
        Group("router-engines", 15, _engines(window)),
        Group("router-latency", 15, _latency(window)),
        Group("routers", 15, (*_routers(), *_router_rates(window))),
    )


def of_router(expr: str, more: str = "") -> str:
    """Aggregate by router."""
    named = f'label_replace({expr}, "router", "$1", "service", "(.+)")'
    return f"sum by (host, router{more}) ({named})"


def _rate(window: str, name: str) -> str:
    return f"rate({_RAW}{name}_total[{window}])"


def _decisions(window: str) -> tuple[Record, ...]:
    return (
        Record("engine_decisions:rate", f"sum by (engine, why) ({_rate(window, 'decisions')})"),
        Record("decisions:rate", "sum by (why) (ironrack:engine_decisions:rate)"),
        Record("key_sources:rate", f"sum by (source) ({_rate(window, 'key_sources')})"),
        Record("refusals:rate", f"sum by (status) ({_rate(window, 'refusals')})"),
        Record("rejections:rate", f"sum by (reason) ({_rate(window, 'rejections')})"),
        Record("retries:rate", f"sum({_rate(window, 'retries')})"),
        Record("retries_withheld:rate", f"sum({_rate(window, 'retries_withheld')})"),
    )


def _affinity(window: str) -> tuple[Record, ...]:
    uncached, prompt = _rate(window, "uncached_tokens"), _rate(window, "prompt_tokens")
    return (
        Record("affinity_returning:rate", f"sum({_rate(window, 'affinity_returning')})"),
        Record("affinity_hits:rate", f"sum({_rate(window, 'affinity_hits')})"),
        Record("affinity_hit_ratio", "ironrack:affinity_hits:rate / (ironrack:affinity_returning:rate > 0)"),
        Record("affinity_inert", f"max by (reason) ({_RAW}affinity_inert)"),
        Record("prompt_cached_ratio", f"1 - sum({uncached}) / (sum({prompt}) > 0)"),
    )


def _waiting(window: str) -> tuple[Record, ...]:
    waits = f"sum by (class, le) (rate({_RAW}queue_seconds_bucket[{window}]))"
    return (
        Record("queue_requests", f"sum by (class) ({_RAW}queue_requests)"),
        Record("queue_capacity_requests", f"sum({_RAW}queue_capacity_requests)"),
        Record("queue_abandoned:rate", f"sum({_rate(window, 'queue_abandoned')})"),
        *quantiles("queue_seconds", waits),
    )


def _outcomes(window: str) -> tuple[Record, ...]:
    model_of = f"* on (engine) group_left (model) (max by (engine, model) ({_RAW}engine_available) * 0 + 1)"
    return (
        Record("engine_outcomes:rate", f"sum by (engine, class) ({_rate(window, 'outcomes')})"),
        Record("engine_truncated:rate", f"sum by (engine) ({_rate(window, 'truncated_streams')})"),
        Record("engine_aborted:rate", f"sum by (engine) ({_rate(window, 'aborted')})"),
        Record("model_truncated:rate", f"sum by (model) (ironrack:engine_truncated:rate {model_of})"),
        Record("model_refusals:rate", f"sum by (model, status) ({_rate(window, 'model_refusals')})"),
        Record("tenant_tokens:rate", f"sum by (tenant, model, kind) ({_rate(window, 'tokens')})"),
        Record("tenant_requests:rate", f"sum by (tenant, class) ({_rate(window, 'tenant_outcomes')})"),
    )


def _engines(window: str) -> tuple[Record, ...]:
    """Load adds up over routers; what an engine is, is what any of them says, and a rate is their mean."""
    ejected = f"increase({_RAW}engine_ejections_total[1h])"
    gaps = _rate(window, "kv_event_gaps")
    return (
        Record("engine_in_flight", f"sum by (engine, model) ({_RAW}engine_in_flight)"),
        Record("engine_uncached_tokens", f"sum by (engine, model) ({_RAW}engine_uncached_tokens)"),
        Record("engine_prefill_tokens_per_second", f"avg by (engine, model) ({_RAW}engine_prefill_tokens_per_second)"),
        Record("engine_available", f"max by (engine, model) ({_RAW}engine_available)"),
        Record("engine_full", f"max by (engine, model) ({_RAW}engine_full)"),
        Record("engine_state", f"max by (engine, model, state) ({_RAW}engine_state)"),
        Record("engine_ejections:1h", f"sum by (engine, model) ({ejected})"),
        Record("engine_ejections_by_reason:1h", f"sum by (engine, model, reason) ({ejected})"),
        Record("engine_eject_reason", f"max by (engine, model, reason) ({_RAW}engine_eject_reason)"),
        Record("engine_kv_whole", f"min by (engine) ({_RAW}kv_whole)"),
        Record("engine_kv_event_age_seconds", f"max by (engine) ({_RAW}kv_event_age_seconds)"),
        Record("engine_kv_event_gaps:rate", f"sum by (engine) ({gaps})"),
    )


def _latency(window: str) -> tuple[Record, ...]:
    first = f"sum by (model, why, le) (rate({_RAW}first_byte_seconds_bucket[{window}]))"
    whole = f"sum by (model, le) (rate({_RAW}request_seconds_bucket[{window}]))"
    decided = of_router(f"rate({_RAW}decision_seconds_bucket[{window}])", ", le")
    return (
        Record("model_first_byte_seconds:bucket_rate", f"sum by (model, le) ({first})"),
        *quantiles("model_first_byte_seconds", "ironrack:model_first_byte_seconds:bucket_rate"),
        *quantiles("why_first_byte_seconds", f"sum by (why, le) ({first})"),
        Record("model_request_seconds:bucket_rate", whole),
        *quantiles("model_request_seconds", "ironrack:model_request_seconds:bucket_rate"),
        Record("router_decision_seconds:bucket_rate", decided),
        *quantiles("router_decision_seconds", "ironrack:router_decision_seconds:bucket_rate"),
    )


def _routers() -> tuple[Record, ...]:
    named = {"leases": "leases", "bindings": "bindings", "spop_connections": "spop_connections"}
    last = f"{_RAW}config_last_success_timestamp_seconds"
    return (
        Record("router_up", of_router('up{job="router"}')),
        *(Record(f"router_{name}", of_router(f"{_RAW}{raw}")) for name, raw in named.items()),
        Record("router_edge_socket_up", of_router(f"{_RAW}edge_socket_up")),
        Record("router_config_ok", of_router(f"{_RAW}config_reload_success")),
        Record("router_config_age_seconds", of_router(f"time() - {last}")),
        Record("router_probe_age_seconds", of_router(f"max by (host, service) ({_RAW}probe_age_seconds)")),
        Record("router_resident_bytes", of_router('process_resident_memory_bytes{job="router"}')),
    )


def _router_rates(window: str) -> tuple[Record, ...]:
    return (
        *(Record(f"router_{name}:rate", of_router(_rate(window, name))) for name in (*_FLOWS, *_FAULTS)),
        Record("router_cpu_cores:rate", of_router(f'rate(process_cpu_seconds_total{{job="router"}}[{window}])')),
    )
