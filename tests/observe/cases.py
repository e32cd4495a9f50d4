"""One case per alert: what goes wrong from the tenth minute on, and for how long.

By then nothing but the watchdog fires. When it has gone wrong long enough, exactly the alert fires, with those that
cannot but fire with it; some time after it is over, nothing does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.observe.healthy import (
    ENGINES,
    NODE,
    STEP_SECONDS,
    Values,
    always,
    appears,
    counter,
    gauge,
    gone,
    series_named,
)

START, END = 10.0, 40.0


@dataclass(frozen=True)
class Case:
    """`changed`: series that differ from the healthy ones. `labels`: what the alert says of who it is about.

    `others`: how many of which other alerts fire with it. Minutes: `fires` and `quiet`.
    `after`: what still fires then.
    """

    alert: str
    labels: str
    changed: Mapping[str, Values]
    others: Mapping[str, int] = field(default_factory=dict)
    fires: float = END - 1
    quiet: float = 60.0
    after: Mapping[str, int] = field(default_factory=dict)
    count: int = 1


def _for_a_while(bad: float, good: float, until: float = END) -> Values:
    return gauge((START, good), (until - START, bad), (60, good))


def _counted(good: float, bad: float, until: float = END) -> Values:
    return counter((START, good), (until - START, bad), (60, good))


def _target(job: str, *more: str) -> str:
    return series_named("up", f'job="{job}"', *more)


def _of(metric: str, target: str) -> str:
    return metric + target[target.index("{") :]


_QWEN = 'host="gpu-1",engine="qwen-0",model="qwen"'
_UP_EDGE, _UP_ROUTER, _UP_GPU = _target("haproxy"), _target("router"), _target("gpu")
_UP_GPU1 = [
    _target(job, "gpu-1", *more) for job, *more in (("engines", "qwen-0"), ("engines", "qwen-1"), ("node",), ("gpu",))
]


def _failing(bad: float) -> dict[str, Values]:
    """So many 5xx at each step, of 15 answers."""
    names = ("haproxy_backend_http_responses_total", "haproxy_frontend_http_responses_total")
    failed = {series_named(name, "5xx"): _counted(0, bad) for name in names}
    return failed | {series_named(name, "2xx"): _counted(15, 15 - bad) for name in names}


def _late(metric: str, bound: str) -> dict[str, Values]:
    """Every observation above the bound."""
    return {series_named(f"{metric}_bucket", engine, f'le="{bound}"'): _counted(15, 0) for engine in ENGINES}


def _no_tokens() -> dict[str, Values]:
    return {
        series_named("vllm:prompt_tokens_total", "qwen-0"): _counted(1500, 0),
        series_named("vllm:generation_tokens_total", "qwen-0"): _counted(300, 0),
    }


SERVICE = (
    Case(
        "ErrorBudgetBurningFast",
        'model="qwen",slo="availability"',
        _failing(15),
        {"ErrorBudgetBurningSlowly": 2},
        count=2,
        quiet=100,
        after={"ErrorBudgetBurningSlowly": 2},
    ),
    Case(
        "ErrorBudgetBurningSlowly",
        'model="qwen",slo="availability"',
        _failing(1),
        count=2,
        quiet=100,
        after={"ErrorBudgetBurningSlowly": 2},
    ),
    Case("FirstTokenSlow", 'model="qwen",slo="ttft"', _late("vllm:time_to_first_token_seconds", "2.5"), quiet=100),
    Case("TokensSlow", 'model="qwen",slo="itl"', _late("vllm:inter_token_latency_seconds", "0.1"), quiet=100),
    Case(
        "ModelWithoutEngine",
        'model="qwen"',
        {series_named("ironrack_router_engine_available", name): _for_a_while(0, 1) for name in ("qwen-0", "qwen-1")},
    ),
    Case(
        "LastEngineOfModel",
        'model="qwen"',
        {series_named("ironrack_router_engine_available", "qwen-1"): _for_a_while(0, 1)},
    ),
    Case("EngineFrozen", 'engine="qwen-0",model="qwen"', _no_tokens()),
    Case(
        "EngineFlapping",
        'engine="qwen-0",model="qwen"',
        {
            series_named("ironrack_router_engine_ejections_total", "qwen-0"): gauge(
                (12, 0), (2, 1), (2, 2), (2, 3), (60, 4)
            )
        },
        quiet=120,
    ),
    Case("KvCacheSaturated", _QWEN, {series_named("vllm:kv_cache_usage_perc", "qwen-0"): _for_a_while(0.99, 0.4)}),
)

ROUTERS = (
    Case(
        "RouterDown",
        'host="edge-1",router="router"',
        {_UP_ROUTER: _for_a_while(0, 1), _of("scrape_samples_scraped", _UP_ROUTER): _for_a_while(0, 100)}
        | {_of("scrape_body_size_bytes", _UP_ROUTER): _for_a_while(0, 5000)},
        {"TargetDown": 1},
    ),
    Case("QueueGrowing", "", {series_named("ironrack_router_queue_requests"): _for_a_while(80, 0)}),
    Case("AffinityInert", 'reason="unnamed"', {series_named("ironrack_router_affinity_inert"): _for_a_while(1, 0)}),
    Case(
        "ConfigReloadFailed",
        'host="edge-1",router="router"',
        {series_named("ironrack_router_config_reload_success"): _for_a_while(0, 1)},
    ),
    Case(
        "RouterFaults",
        'host="edge-1",router="router"',
        {series_named("ironrack_router_internal_errors_total"): _counted(0, 1)},
    ),
    Case(
        "CompletionLinesLost",
        'host="edge-1",router="router"',
        {series_named("ironrack_router_leases_expired_total"): _counted(0, 1)},
    ),
    Case(
        "EdgeDown",
        'host="edge-1"',
        {_UP_EDGE: _for_a_while(0, 1), _of("scrape_samples_scraped", _UP_EDGE): _for_a_while(0, 100)}
        | {_of("scrape_body_size_bytes", _UP_EDGE): _for_a_while(0, 5000)},
        {"TargetDown": 1},
    ),
    Case(
        "CertificateExpiring",
        'host="edge-1",certificate="edge.pem"',
        {
            series_named("ironrack_router_edge_certificate_expiry_timestamp_seconds"): _for_a_while(
                10 * 86400, 90 * 86400
            )
        },
    ),
    Case(
        "CertificateAboutToExpire",
        'host="edge-1",certificate="edge.pem"',
        {series_named("ironrack_router_edge_certificate_expiry_timestamp_seconds"): _for_a_while(86400, 90 * 86400)},
    ),
)


def _xid(number: int, fatal: int) -> str:
    return f'ironrack_gpu_xid_total{{{NODE},gpu="3",xid="{number}",fatal="{fatal}"}}'


_DISK = 'host="gpu-1",mountpoint="/"'
HOSTS = (
    Case(
        "HostDown",
        'host="gpu-1"',
        {up: _for_a_while(0, 1) for up in _UP_GPU1}
        | {_of("scrape_samples_scraped", up): _for_a_while(0, 100) for up in _UP_GPU1}
        | {_of("scrape_body_size_bytes", up): _for_a_while(0, 5000) for up in _UP_GPU1},
        {"TargetDown": 4},
    ),
    Case("DiskFilling", _DISK, {series_named("node_filesystem_avail_bytes"): _for_a_while(8e10, 5e11)}),
    Case(
        "DiskFull", _DISK, {series_named("node_filesystem_avail_bytes"): _for_a_while(1e10, 5e11)}, {"DiskFilling": 1}
    ),
    Case(
        "ClockSkewed",
        'host="gpu-1"',
        {series_named("node_time_seconds"): f"0+{STEP_SECONDS}x9 660+{STEP_SECONDS}x29 2400+{STEP_SECONDS}x500"},
    ),
    Case(
        "RebootRequired",
        'host="gpu-1"',
        {series_named("ironrack_reboot_required"): _for_a_while(1, 0, 90)},
        fires=85,
        quiet=120,
    ),
    Case("GpuMissing", 'host="gpu-1"', {series_named("ironrack_gpu_visible"): _for_a_while(7, 8)}),
    Case(
        "GpuXidFatal",
        'host="gpu-1",gpu="3",xid="79",fatal="1"',
        {_xid(79, 1): appears(30)},
    ),
    Case(
        "GpuXid",
        'host="gpu-1",gpu="3",xid="13",fatal="0"',
        {_xid(13, 0): appears(30)},
    ),
    Case(
        "GpuMemoryErrors",
        'host="gpu-1",gpu="0",kind="uncorrected"',
        {series_named("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"): gauge((20, 0), (100, 1))},
        quiet=120,
    ),
    Case(
        "GpuRowRemapFailed", 'host="gpu-1",gpu="0"', {series_named("DCGM_FI_DEV_ROW_REMAP_FAILURE"): _for_a_while(1, 0)}
    ),
    Case(
        "GpuThrottled",
        'host="gpu-1",gpu="0",reason="thermal"',
        {series_named("DCGM_FI_DEV_THERMAL_VIOLATION"): _counted(0, 5e6)},
    ),
    Case("DriverMismatch", 'host="gpu-1"', {series_named("ironrack_driver_mismatch"): _for_a_while(1, 0)}),
)

_GPU_TARGET = 'job="gpu",host="gpu-1",service="gpu-exporter"'
_SILENT = {_of("scrape_samples_scraped", _UP_GPU): _for_a_while(0, 100)}
_EMPTY = {_of("scrape_body_size_bytes", _UP_GPU): _for_a_while(0, 5000)}
WATCHERS = (
    Case("TargetDown", f'{_GPU_TARGET},kind="down"', {_UP_GPU: _for_a_while(0, 1), **_SILENT, **_EMPTY}),
    Case(
        "TargetHanging",
        f'{_GPU_TARGET},kind="hanging"',
        {
            _UP_GPU: _for_a_while(0, 1),
            **_SILENT,
            **_EMPTY,
            _of("scrape_duration_seconds", _UP_GPU): _for_a_while(10, 0.1),
        },
    ),
    Case("TargetGarbage", f'{_GPU_TARGET},kind="garbage"', {_UP_GPU: _for_a_while(0, 1), **_SILENT}),
    Case(
        "ScrapeGap",
        _GPU_TARGET,
        {_UP_GPU: "1+0x9 " + "_x1 1+0x0 " * 15 + "1+0x400"},
    ),
    Case("PrometheusNotStoring", "", {_target("prometheus"): gone(START, END)}),
    Case(
        "PrometheusRulesFailing",
        'host="edge-1",rule_group="a"',
        {series_named("prometheus_rule_evaluation_failures_total"): _counted(0, 1)},
    ),
    Case(
        "PrometheusReloadFailed",
        'host="edge-1"',
        {series_named("prometheus_config_last_reload_successful"): _for_a_while(0, 1)},
    ),
    Case(
        "AlertmanagerUnreachable",
        'host="edge-1"',
        {series_named("prometheus_notifications_errors_total"): _counted(0, 1)},
    ),
    Case(
        "NotificationsFailing",
        'host="edge-1",integration="email"',
        {series_named("alertmanager_notifications_failed_total"): _counted(0, 1)},
    ),
    Case("Watchdog", "", {"nothing": always(0)}),
)

CASES = (*SERVICE, *ROUTERS, *HOSTS, *WATCHERS)


_MOST = 4  # in a batch; more would say less of which fault fires which alert


def batches() -> list[tuple[Case, ...]]:
    """Cases that can go wrong side by side: they change different series, and are over at the same time.

    promtool evaluates every rule at every step, so that a batch takes no longer than a case.
    """
    found: list[list[Case]] = []
    for case in CASES:
        fits = (each for each in found if len(each) < _MOST and all(_apart(case, other) for other in each))
        batch = next(fits, None)
        if batch is None:
            found.append([case])
        else:
            batch.append(case)
    return [tuple(batch) for batch in found]


def _apart(one: Case, other: Case) -> bool:
    times = (one.fires, one.quiet) == (other.fires, other.quiet)
    return times and not set(one.changed) & set(other.changed) and not one.after and not other.after
