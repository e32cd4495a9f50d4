"""A small stack in which all is well, as raw samples: what every test of an alert starts from."""

from __future__ import annotations

import re
from collections.abc import Iterable

STEP_SECONDS = 60
PER_MINUTE = 60 // STEP_SECONDS
MINUTES = 150

Values = str


def gauge(*parts: tuple[float, float]) -> Values:
    """A value for some minutes, then another; the last one for the rest."""
    last = parts[-1][1]
    return " ".join(f"{value}+0x{int(minutes * PER_MINUTE) - 1}" for minutes, value in parts) + f" {last}+0x1000"


def counter(*parts: tuple[float, float]) -> Values:
    """So much more at every step for some minutes, then so much; the last pace for the rest."""
    text, at = [], 0.0
    for minutes, pace in (*parts, (1000.0, parts[-1][1])):
        steps = int(minutes * PER_MINUTE)
        text.append(f"{at:g}{pace:+g}x{steps - 1}")
        at += pace * steps
    return " ".join(text)


def always(value: float) -> Values:
    """The same value at every step."""
    return gauge((MINUTES, value))


def pace(more: float) -> Values:
    """So much more at every step."""
    return counter((MINUTES, more))


def gone(start: float, end: float, value: float = 1) -> Values:
    """A value that is not to be had from one minute to another."""
    away = int((end - start) * PER_MINUTE)
    return f"{value}+0x{int(start * PER_MINUTE) - 1} _x{away} {value}+0x500"


def appears(start: float, value: float = 1) -> Values:
    """A value that was never there before some minute."""
    return f"_x{int(start * PER_MINUTE)} {value}+0x500"


def _targets() -> Iterable[str]:
    for job, host, service, more in (
        ("engines", "gpu-1", "qwen-0", ',model="qwen"'),
        ("engines", "gpu-1", "qwen-1", ',model="qwen"'),
        ("router", "edge-1", "router", ""),
        ("haproxy", "edge-1", "edge", ""),
        ("node", "edge-1", "node-exporter", ""),
        ("node", "gpu-1", "node-exporter", ""),
        ("gpu", "gpu-1", "gpu-exporter", ""),
        ("prometheus", "edge-1", "prometheus", ""),
        ("alertmanager", "edge-1", "alertmanager", ""),
    ):
        yield f'job="{job}",host="{host}",service="{service}"{more}'


TARGETS = tuple(_targets())
ENGINES = tuple(target for target in TARGETS if target.startswith('job="engines"'))
(ROUTER,) = (target for target in TARGETS if target.startswith('job="router"'))
(EDGE,) = (target for target in TARGETS if target.startswith('job="haproxy"'))
(NODE,) = (target for target in TARGETS if target.startswith('job="node",host="gpu-1"'))
(GPU,) = (target for target in TARGETS if target.startswith('job="gpu"'))
(PROMETHEUS,) = (target for target in TARGETS if target.startswith('job="prometheus"'))
(ALERTMANAGER,) = (target for target in TARGETS if target.startswith('job="alertmanager"'))


def _scrapes() -> dict[str, Values]:
    found: dict[str, Values] = {}
    for target in TARGETS:
        found[f"up{{{target}}}"] = always(1)
        found[f"scrape_duration_seconds{{{target}}}"] = always(0.01)
        found[f"scrape_samples_scraped{{{target}}}"] = always(100)
        found[f"scrape_timeout_seconds{{{target}}}"] = always(10)
        found[f"scrape_body_size_bytes{{{target}}}"] = always(5000)
    return found


def _engines() -> dict[str, Values]:
    found: dict[str, Values] = {}
    for engine in ENGINES:
        labels = f'{engine},model_name="qwen",engine="0"'
        found |= {
            f"vllm:num_requests_running{{{labels}}}": always(2),
            f"vllm:num_requests_waiting{{{labels}}}": always(0),
            f"vllm:kv_cache_usage_perc{{{labels}}}": always(0.4),
            f"vllm:prompt_tokens_total{{{labels}}}": pace(1500),
            f"vllm:generation_tokens_total{{{labels}}}": pace(300),
            f"process_start_time_seconds{{{engine}}}": always(1000),
        }
        for name, target in (("time_to_first_token", "2.5"), ("inter_token_latency", "0.1")):
            for bound in (target, "+Inf"):
                found[f'vllm:{name}_seconds_bucket{{{labels},le="{bound}"}}'] = pace(15)
    return found


def _router() -> dict[str, Values]:
    raw, found = "ironrack_router_", dict[str, Values]()
    for engine in ("qwen-0", "qwen-1"):
        labels = f'{ROUTER},engine="{engine}",model="qwen"'
        found |= {
            f"{raw}engine_in_flight{{{labels}}}": always(2),
            f"{raw}engine_available{{{labels}}}": always(1),
            f'{raw}engine_ejections_total{{{labels},reason="stalled"}}': always(0),
            f'{raw}engine_state{{{labels},state="ready"}}': always(1),
            f'{raw}engine_state{{{labels},state="ejected"}}': always(0),
            f'{raw}decisions_total{{{ROUTER},engine="{engine}",why="home"}}': pace(15),
            f'{raw}truncated_streams_total{{{ROUTER},engine="{engine}"}}': always(0),
        }
    expiry = f'{raw}edge_certificate_expiry_timestamp_seconds{{{ROUTER},certificate="edge.pem"}}'
    return found | {
        f'{raw}affinity_inert{{{ROUTER},reason="unnamed"}}': always(0),
        f'{raw}queue_requests{{{ROUTER},class="default"}}': always(0),
        f"{raw}queue_capacity_requests{{{ROUTER}}}": always(100),
        f"{raw}config_reload_success{{{ROUTER}}}": always(1),
        f"{raw}config_last_success_timestamp_seconds{{{ROUTER}}}": always(0),
        f"{raw}internal_errors_total{{{ROUTER}}}": always(0),
        f"{raw}leases_expired_total{{{ROUTER}}}": always(0),
        f"{raw}leases_reconciled_total{{{ROUTER}}}": always(0),
        f"{raw}events_garbage_total{{{ROUTER}}}": always(0),
        f"{raw}events_total{{{ROUTER}}}": pace(30),
        f'{raw}model_refusals_total{{{ROUTER},model="qwen",status="503"}}': always(0),
        expiry: always(90 * 86400),
    }


def _edge() -> dict[str, Values]:
    found = {
        f'haproxy_backend_status{{{EDGE},proxy="router-decide",state="UP"}}': always(1),
        f'haproxy_backend_status{{{EDGE},proxy="router-decide",state="DOWN"}}': always(0),
    }
    for code, more in (("2xx", 15), ("5xx", 0)):
        found[f'haproxy_backend_http_responses_total{{{EDGE},proxy="model-qwen",code="{code}"}}'] = pace(more)
        found[f'haproxy_frontend_http_responses_total{{{EDGE},proxy="edge",code="{code}"}}'] = pace(more)
    return found


def _host() -> dict[str, Values]:
    disk = f'{NODE},device="/dev/sda1",fstype="ext4",mountpoint="/"'
    card = f'{GPU},gpu="0",UUID="GPU-0",modelName="NVIDIA H100 80GB HBM3"'
    dcgm = ("THERMAL_VIOLATION", "ECC_DBE_VOL_TOTAL", "ROW_REMAP_FAILURE")
    return {
        f"node_time_seconds{{{NODE}}}": pace(STEP_SECONDS),
        f"node_filesystem_avail_bytes{{{disk}}}": always(5e11),
        f"node_filesystem_size_bytes{{{disk}}}": always(1e12),
        f"ironrack_gpu_expected{{{NODE}}}": always(8),
        f"ironrack_gpu_visible{{{NODE}}}": always(8),
        f"ironrack_driver_mismatch{{{NODE}}}": always(0),
        f"ironrack_reboot_required{{{NODE}}}": always(0),
        **{f"DCGM_FI_DEV_{name}{{{card}}}": always(0) for name in dcgm},
    }


def _watchers() -> dict[str, Values]:
    return {
        f'prometheus_rule_evaluation_failures_total{{{PROMETHEUS},rule_group="a"}}': always(0),
        f"prometheus_config_last_reload_successful{{{PROMETHEUS}}}": always(1),
        f'prometheus_notifications_errors_total{{{PROMETHEUS},alertmanager="a"}}': always(0),
        f"prometheus_notifications_alertmanagers_discovered{{{PROMETHEUS}}}": always(1),
        f'alertmanager_notifications_failed_total{{{ALERTMANAGER},integration="email"}}': always(0),
    }


HEALTHY = {**_scrapes(), **_engines(), **_router(), **_edge(), **_host(), **_watchers()}


def series_named(*parts: str) -> str:
    """The one healthy series whose name begins with the first part and that has the others in its labels."""
    found = [name for name in HEALTHY if re.match(rf"{parts[0]}\b", name) and all(part in name for part in parts[1:])]
    if len(found) != 1:
        raise LookupError(f"{parts}: {found or 'nothing'} was found: one series is allowed; name more of its labels")
    return found[0]
