"""The one list of recorded series: everything downstream of the rules reads these and nothing else.

Rules make them from whatever names the running release of an engine or exporter uses, so a rename ends in one place.
Labels are bounded by configuration: hosts, engines, models, tenants, reasons; never by requests.
"""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "ironrack:"
ENGINE = ("host", "engine", "model")
ROUTER = ("host", "router")
GPU = ("host", "gpu")
OFFLOAD, EVENTS, SPECULATION, TENANTS, TLS = "KV offload", "KV events", "speculative decoding", "tenants", "TLS"
CARD = "an NVIDIA GPU"


@dataclass(frozen=True, slots=True)
class Series:
    """One recorded series. `needs`: without that the series is empty; `labels`: all it has, without the name."""

    name: str
    labels: tuple[str, ...]
    unit: str
    text: str
    needs: str = ""


def _series(
    labels: tuple[str, ...], needs: str, *rows: tuple[str, str, str] | tuple[str, str, str, str]
) -> tuple[Series, ...]:
    """Rows of name, unit, text and perhaps one or more further labels, space-separated."""
    return tuple(
        Series(PREFIX + row[0], (*labels, *(row[3].split() if len(row) == 4 else ())), row[1], row[2], needs)
        for row in rows
    )


def _latency(subject: str, labels: tuple[str, ...], noun: str, text: str) -> tuple[Series, ...]:
    """A histogram's two series: rates of its buckets, and quantiles 0.5, 0.95 and 0.99."""
    name = f"{subject}_{noun}_seconds"
    return _series(
        labels,
        "",
        (f"{name}:bucket_rate", "observations/s", f"{text}: rate of every bucket.", "le"),
        (f"{name}:quantile", "seconds", f"{text}: quantiles 0.5, 0.95 and 0.99.", "quantile"),
    )


_LATENCIES = (
    ("ttft", "Time to first token, measured in the engine"),
    ("itl", "Time between two tokens"),
    ("e2e", "Time an engine spends on a request"),
    ("queue", "Time a request waits inside the engine"),
)

ENGINES = (
    *_series(
        ENGINE,
        "",
        ("engine_up", "0 or 1", "Whether the engine's metrics could be read."),
        ("engine_requests_running", "requests", "Requests in the batch."),
        ("engine_requests_waiting", "requests", "Requests that wait inside the engine."),
        ("engine_kv_usage_ratio", "ratio", "KV cache in use."),
        ("engine_prompt_tokens:rate", "tokens/s", "Prompt tokens taken in, cached ones included."),
        ("engine_generation_tokens:rate", "tokens/s", "Tokens generated."),
        ("engine_prefix_queries:rate", "tokens/s", "Prompt tokens looked up in the prefix cache."),
        ("engine_prefix_hits:rate", "tokens/s", "Prompt tokens found in the prefix cache."),
        ("engine_prefix_hit_ratio", "ratio", "Prompt tokens found in the prefix cache, of those looked up."),
        ("engine_preemptions:rate", "requests/s", "Requests thrown out of the batch because the KV cache was full."),
        ("engine_requests_finished:rate", "requests/s", "Requests ended, by how.", "reason"),
        ("engine_prefill_seconds:mean", "seconds", "Mean time of a request's prefill."),
        ("engine_decode_seconds:mean", "seconds", "Mean time of a request's decode."),
        ("engine_prompt_length_tokens:mean", "tokens", "Mean length of a prompt."),
        ("engine_answer_length_tokens:mean", "tokens", "Mean length of an answer."),
        ("engine_restarts:1h", "restarts", "Process starts within the last hour."),
    ),
    *(series for noun, text in _LATENCIES for series in _latency("engine", ENGINE, noun, text)),
    *_series(
        ENGINE,
        OFFLOAD,
        (
            "engine_external_prefix_hit_ratio",
            "ratio",
            "Prompt tokens found in the offloaded cache, of those looked up.",
        ),
        ("engine_kv_offload_bytes:rate", "bytes/s", "KV cache moved, by direction.", "direction"),
    ),
    *_series(
        ENGINE,
        SPECULATION,
        ("engine_draft_accept_ratio", "ratio", "Drafted tokens that were accepted."),
    ),
)

MODELS = (
    *_series(
        ("model",),
        "",
        ("model_engines", "engines", "Engines the plan has."),
        ("model_engines_available", "engines", "Engines that get new work."),
        ("model_requests_running", "requests", "Requests in the engines' batches."),
        ("model_requests_waiting", "requests", "Requests that wait inside the engines."),
        ("model_prompt_tokens:rate", "tokens/s", "Prompt tokens taken in, cached ones included."),
        ("model_generation_tokens:rate", "tokens/s", "Tokens generated."),
        ("model_kv_usage_ratio:mean", "ratio", "KV cache in use, mean of the engines."),
        ("model_kv_usage_ratio:max", "ratio", "KV cache in use, the fullest engine."),
        ("model_prefix_hit_ratio", "ratio", "Prompt tokens found in the engines' prefix caches."),
        ("model_prefill_load_ratio", "ratio", "Prompt tokens computed, of what the engines are known to manage."),
        ("model_requests:rate", "requests/s", "Answers of the model's engines, by status class.", "code"),
        ("model_refusals:rate", "requests/s", "Requests for the model that the router refused, by status.", "status"),
        ("model_truncated:rate", "answers/s", "Answers that engines broke off after they had begun."),
        ("backend_model", "1", "Which backend of the edge serves the model.", "proxy"),
    ),
    *(series for noun, text in _LATENCIES for series in _latency("model", ("model",), noun, text)),
    *_latency(
        "model", ("model",), "first_byte", "From a request's headers to its answer's first byte, waiting included"
    ),
    *_latency("model", ("model",), "request", "From a request's headers to its answer's last byte"),
    *_series(
        ("model",),
        CARD,
        ("model_gpus", "GPUs", "GPUs the plan gives to the model."),
        ("model_generation_tokens_per_gpu:rate", "tokens/s", "Tokens generated by each GPU."),
    ),
)

_ROUTED = ("engine", "model")
ROUTERS = (
    *_series(
        (),
        "",
        ("decisions:rate", "decisions/s", "Requests given to an engine, by reason.", "why"),
        ("engine_decisions:rate", "decisions/s", "Requests given to an engine, by engine and reason.", "engine why"),
        ("key_sources:rate", "decisions/s", "Decisions, by what the session was recognised by.", "source"),
        ("affinity_returning:rate", "decisions/s", "Decisions for a session that had a home."),
        ("affinity_hits:rate", "decisions/s", "Decisions that kept a session at its home."),
        ("affinity_hit_ratio", "ratio", "Returning sessions that stayed at home."),
        ("affinity_inert", "0 or 1", "1 while affinity does little.", "reason"),
        ("prompt_cached_ratio", "ratio", "Prompt tokens that the router believed cached where it sent them."),
        ("why_first_byte_seconds:quantile", "seconds", "Time to the first byte, by reason.", "why quantile"),
        ("refusals:rate", "requests/s", "Requests the router refused, by status.", "status"),
        ("rejections:rate", "requests/s", "Requests the router refused, by reason.", "reason"),
        ("queue_requests", "requests", "Requests that wait for an engine.", "class"),
        ("queue_capacity_requests", "requests", "Requests that may wait for an engine."),
        ("queue_seconds:quantile", "seconds", "How long those waited that an engine then took.", "class quantile"),
        ("queue_abandoned:rate", "requests/s", "Requests whose client left while they waited."),
        ("retries:rate", "tries/s", "Tries after the first."),
        ("retries_withheld:rate", "decisions/s", "Decisions without a second try: the retry budget was spent."),
        ("engine_outcomes:rate", "requests/s", "Requests completed, by engine and status class.", "engine class"),
        ("engine_truncated:rate", "answers/s", "Answers the engine broke off after they had begun.", "engine"),
        ("engine_aborted:rate", "requests/s", "Requests whose client left.", "engine"),
        ("tenant_tokens:rate", "tokens/s", "Tokens used, by tenant.", "tenant model kind"),
        (
            "tenant_requests:rate",
            "requests/s",
            "Requests completed or refused, by tenant and status class.",
            "tenant class",
        ),
    ),
    *_series(
        _ROUTED,
        "",
        ("engine_in_flight", "requests", "Requests the routers have at the engine."),
        ("engine_uncached_tokens", "tokens", "U: prompt tokens sent there whose first byte has not come."),
        ("engine_prefill_tokens_per_second", "tokens/s", "R: its prefill rate; prices level those about the same."),
        ("engine_available", "0 or 1", "1 when it gets new work."),
        ("engine_full", "0 or 1", "1 while it is at its cap."),
        ("engine_state", "0 or 1", "1 for the state it is in.", "state"),
        ("engine_ejections:1h", "ejections", "Times it was ejected within the last hour."),
        ("engine_ejections_by_reason:1h", "ejections", "The same, by reason.", "reason"),
        ("engine_eject_reason", "0 or 1", "1 for why it was ejected the last time.", "reason"),
    ),
    *_series(
        ROUTER,
        "",
        ("router_up", "0 or 1", "Whether the router's metrics could be read."),
        ("router_decision_seconds:bucket_rate", "decisions/s", "Time per decision: rate of every bucket.", "le"),
        ("router_decision_seconds:quantile", "seconds", "Time per decision: quantiles 0.5, 0.95 and 0.99.", "quantile"),
        ("router_leases", "requests", "Requests in flight that the router knows of."),
        ("router_bindings", "sessions", "Sessions whose home is remembered."),
        ("router_decisions:rate", "decisions/s", "Requests that this router gave to an engine."),
        ("router_events:rate", "lines/s", "Completion lines heard: requests of which the edge said how they ended."),
        ("router_leases_expired:rate", "leases/s", "Leases that ran out: completion lines were lost."),
        ("router_leases_reconciled:rate", "leases/s", "Leases given back because the edge has no request for them."),
        ("router_internal_errors:rate", "errors/s", "Faults of the router; the edge then decides by itself."),
        ("router_events_garbage:rate", "lines/s", "Completion lines that could not be read."),
        ("router_log_dropped:rate", "lines/s", "Log lines given up because stdout did not take them."),
        ("router_spop_connections", "connections", "Open connections from the edge."),
        ("router_edge_socket_up", "0 or 1", "Whether the edge's runtime socket answers."),
        ("router_config_ok", "0 or 1", "Whether the settings file that lies there is in force."),
        ("router_config_age_seconds", "seconds", "Since settings were last taken over."),
        ("router_probe_age_seconds", "seconds", "The longest time since an engine was probed."),
        ("router_cpu_cores:rate", "cores", "CPU the router uses."),
        ("router_resident_bytes", "bytes", "Memory the router uses."),
    ),
    *_series(
        ("engine",),
        EVENTS,
        ("engine_kv_whole", "0 or 1", "Whether all that the engine's KV cache holds is known."),
        ("engine_kv_event_age_seconds", "seconds", "Since the engine last told what it holds."),
        ("engine_kv_event_gaps:rate", "gaps/s", "Events that were lost on the way."),
    ),
)

EDGES = (
    *_series(
        ("host",),
        "",
        ("edge_up", "0 or 1", "Whether the edge's metrics could be read."),
        ("edge_connections", "connections", "Connections open now."),
        ("edge_connections_usage_ratio", "ratio", "Connections open now, of those allowed."),
        ("edge_requests:rate", "requests/s", "Answers to clients, by status class.", "code"),
        ("edge_bytes_in:rate", "bytes/s", "Bytes from clients."),
        ("edge_bytes_out:rate", "bytes/s", "Bytes to clients."),
        ("edge_busy_ratio", "ratio", "Time HAProxy's threads were busy."),
        ("edge_fallback_active", "0 or 1", "1 while no router decides and the edge does by itself."),
        ("edge_tls_connections", "connections", "TLS connections open now."),
        ("edge_tls_handshakes:rate", "handshakes/s", "TLS handshakes."),
    ),
    *_series(
        ("host", "certificate"), TLS, ("edge_certificate_left_seconds", "seconds", "Until the certificate runs out.")
    ),
    *_series(
        ("model",),
        "",
        ("edge_queue_requests", "requests", "Requests that HAProxy holds because servers are at their limit."),
        ("edge_retries:rate", "tries/s", "Connections tried again."),
        ("edge_redispatches:rate", "requests/s", "Requests sent to another engine than the first."),
        ("edge_connection_errors:rate", "errors/s", "Connections to engines that failed."),
    ),
    *_series(
        _ROUTED,
        "",
        ("edge_server_up", "0 or 1", "Whether every edge finds the engine healthy."),
        ("edge_server_sessions", "requests", "Requests the edges have at the engine."),
    ),
)

HOSTS = (
    *_series(
        ("host",),
        "",
        ("host_up", "0 or 1", "Whether the host's metrics could be read."),
        ("host_cpu_usage_ratio", "ratio", "CPU time that was used."),
        ("host_memory_available_ratio", "ratio", "Memory that programs could still get."),
        ("host_memory_available_bytes", "bytes", "Memory that programs could still get."),
        ("host_clock_offset_seconds", "seconds", "The host's clock less that of Prometheus."),
        ("host_disk_read_bytes:rate", "bytes/s", "Bytes read from disks."),
        ("host_disk_written_bytes:rate", "bytes/s", "Bytes written to disks."),
        ("host_disk_free_ratio", "ratio", "Free space of a file system.", "mountpoint"),
        ("host_disk_free_bytes", "bytes", "Free space of a file system.", "mountpoint"),
        ("host_network_receive_bytes:rate", "bytes/s", "Bytes received.", "device"),
        ("host_network_transmit_bytes:rate", "bytes/s", "Bytes sent.", "device"),
    ),
    *_series(
        ("host",),
        CARD,
        ("host_reboot_required", "0 or 1", "1 when something installed waits for a reboot."),
        ("host_driver_mismatch", "0 or 1", "1 when the loaded driver is not the installed one."),
        ("host_gpus_expected", "GPUs", "GPUs the plan says the host has."),
        ("host_gpus_visible", "GPUs", "GPUs the driver sees."),
    ),
)

GPUS = _series(
    GPU,
    CARD,
    ("gpu_usage_ratio", "ratio", "Time in which a kernel ran."),
    ("gpu_tensor_active_ratio", "ratio", "Time in which the tensor cores were busy."),
    ("gpu_memory_used_bytes", "bytes", "Memory in use."),
    ("gpu_memory_used_ratio", "ratio", "Memory in use."),
    ("gpu_temperature_celsius", "°C", "Temperature of the chip."),
    ("gpu_memory_temperature_celsius", "°C", "Temperature of the memory."),
    ("gpu_power_watts", "W", "Power drawn."),
    ("gpu_sm_clock_hertz", "Hz", "Clock of the multiprocessors."),
    (
        "gpu_throttled:rate",
        "rate",
        "Grows above 0 while the clock is held down, by reason; the exporter's unit.",
        "reason",
    ),
    ("gpu_ecc_errors:1h", "errors", "Memory errors of the last hour, `corrected` or `uncorrected`.", "kind"),
    (
        "gpu_remapped_rows",
        "rows",
        "Rows of memory replaced by spare ones, after `corrected` or `uncorrected` errors.",
        "kind",
    ),
    ("gpu_row_remap_failed", "0 or 1", "1 when a broken row could not be replaced."),
    ("gpu_xid_last", "XID", "The last fault's number until the next; DCGM 4.5 leaves it out before the first."),
    (
        "gpu_xid:15m",
        "faults",
        "Faults of the last 15 minutes; fatal ones (`fatal` is 1) until they are cleared.",
        "xid fatal",
    ),
    ("gpu_nvlink_bytes:rate", "bytes/s", "Bytes over NVLink."),
    (
        "gpu_nvlink_errors:1h",
        "errors",
        "NVLink errors of the last hour, by kind; an exporter leaves out kinds that the GPU does not count.",
        "kind",
    ),
    ("gpu_pcie_replays:rate", "replays/s", "Repeated PCIe transfers."),
)

_SLO = ("model", "slo")
SLOS = _series(
    _SLO,
    "",
    ("slo_objective_ratio", "ratio", "Share of requests that must be good; slo is `ttft`, `itl` or `availability`."),
    ("slo_target_seconds", "seconds", "What is good enough, of `ttft` and `itl`."),
    ("slo_events:rate5m", "events/s", "Requests or tokens judged."),
    ("slo_bad:rate5m", "events/s", "Those that missed the target or failed."),
    ("slo_bad_ratio", "ratio", "Share that was bad within 5m, 30m, 1h, 6h or 3d.", "window"),
    ("slo_burn_rate", "factor", "How many times faster than allowed the error budget is spent.", "window"),
    ("slo_budget_left_ratio", "ratio", "Error budget left of the days looked back on; below 0 it is overspent."),
)

MONITORING = _series(
    ("job",),
    "",
    ("target_up", "0 or 1", "Whether the target could be read.", "host service"),
    ("target_failing", "0 or 1", "1 for how a target fails: `down`, `hanging` or `garbage`.", "host service kind"),
    ("scrape_seconds:max", "seconds", "The slowest scrape."),
    ("scrape_samples", "samples", "Samples read at each scrape."),
)

ALL = (*ENGINES, *MODELS, *ROUTERS, *EDGES, *HOSTS, *GPUS, *SLOS, *MONITORING)
NAMES = {series.name: series for series in ALL}
