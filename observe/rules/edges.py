"""What HAProxy tells. Its backends have names of their own; the plan knows which model each is."""

from __future__ import annotations

from observe.rules.parts import Group, Record
from observe.rules.watch import Watch

_MODELS = 'proxy=~"model-.+"'
_TO_MODEL = "* on (proxy) group_left (model) ironrack:backend_model"
_EXPIRY = "ironrack_router_edge_certificate_expiry_timestamp_seconds"


def edges(watch: Watch) -> tuple[Group, ...]:
    """The groups that read edges."""
    known = tuple(Record("backend_model", "vector(1)", {"proxy": t.proxy, "model": t.model}) for t in watch.targets)
    return (
        Group("edge-models", 15, (*known, *_models(watch.rate))),
        Group("edges", 15, (*_now(), *_rates(watch.rate))),
    )


def _models(window: str) -> tuple[Record, ...]:
    def counted(raw: str) -> str:
        return f"sum by (model) (sum by (proxy) (rate(haproxy_backend_{raw}{{{_MODELS}}}[{window}])) {_TO_MODEL})"

    answers = f"sum by (proxy, code) (rate(haproxy_backend_http_responses_total{{{_MODELS}}}[{window}])) {_TO_MODEL}"
    queued = f"sum by (proxy) (haproxy_backend_current_queue{{{_MODELS}}}) {_TO_MODEL}"
    return (
        Record("model_requests:rate", f"sum by (model, code) ({answers})"),
        Record("edge_queue_requests", f"sum by (model) ({queued})"),
        Record("edge_retries:rate", counted("retry_warnings_total")),
        Record("edge_redispatches:rate", counted("redispatch_warnings_total")),
        Record("edge_connection_errors:rate", counted("connection_errors_total")),
        Record("edge_server_up", _server("min", f'haproxy_server_status{{{_MODELS}, state="UP"}}')),
        Record("edge_server_sessions", _server("sum", f"haproxy_server_current_sessions{{{_MODELS}}}")),
    )


def _server(how: str, expr: str) -> str:
    """Aggregate over edges; HAProxy calls an engine `server`."""
    inner = f"{how} by (proxy, server) ({expr})"
    named = f'label_replace({inner}, "engine", "$1", "server", "(.+)") {_TO_MODEL}'
    return f"{how} by (engine, model) ({named})"


def _now() -> tuple[Record, ...]:
    decides = 'haproxy_backend_status{proxy=~"router-decide.*", state="UP"}'
    used = "max by (host) (haproxy_process_current_connections)"
    allowed = "max by (host) (haproxy_process_max_connections)"
    return (
        Record("edge_up", 'max by (host) (up{job="haproxy"})'),
        Record("edge_connections", used),
        Record("edge_connections_usage_ratio", f"{used} / {allowed}"),
        Record("edge_busy_ratio", "1 - max by (host) (haproxy_process_idle_time_percent) / 100"),
        Record("edge_fallback_active", f"1 - max by (host) ({decides})"),
        Record("edge_tls_connections", "max by (host) (haproxy_process_current_ssl_connections)"),
        Record("edge_certificate_left_seconds", f"min by (host, certificate) ({_EXPIRY}) - time()"),
    )


def _rates(window: str) -> tuple[Record, ...]:
    clients = 'proxy="edge"'
    answers = f"sum by (host, code) (rate(haproxy_frontend_http_responses_total{{{clients}}}[{window}]))"
    return (
        Record("edge_requests:rate", answers),
        Record("edge_bytes_in:rate", f"sum by (host) (rate(haproxy_frontend_bytes_in_total{{{clients}}}[{window}]))"),
        Record("edge_bytes_out:rate", f"sum by (host) (rate(haproxy_frontend_bytes_out_total{{{clients}}}[{window}]))"),
        Record("edge_tls_handshakes:rate", f"sum by (host) (rate(haproxy_process_ssl_connections_total[{window}]))"),
    )
