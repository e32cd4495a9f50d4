"""A real Prometheus that reads many engines and evaluates every rule: what that takes of a core, and of memory.

The engines are pages of one server, each with every histogram that vLLM writes; hardware is not among them, since its
rules cost no more than one series for each GPU.
"""

import json
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stackplan
from observe.rules import rule_files
from tests.bench.report import Report, Table
from tests.support.prometheus import pages, prometheus

MODEL = "bench"
_BOUNDS = {
    "time_to_first_token": "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0",
    "inter_token_latency": "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0",
    "e2e_request_latency": "0.3 0.5 0.8 1.0 1.5 2.0 2.5 5.0 10.0 15.0 20.0 30.0 40.0 50.0 60.0 120.0 240.0 480.0",
    "request_queue_time": "0.3 0.5 0.8 1.0 1.5 2.0 2.5 5.0 10.0 15.0 20.0 30.0 40.0 50.0 60.0 120.0 240.0 480.0",
}
_COUNTERS = (
    "prompt_tokens generation_tokens prefix_cache_queries prefix_cache_hits num_preemptions "
    "request_prefill_time_seconds_sum request_prefill_time_seconds_count"
)
_GAUGES = "num_requests_running num_requests_waiting kv_cache_usage_perc"
_ENGINE_GAUGES = "in_flight available full uncached_tokens prefill_tokens_per_second"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many engines, how often they are read, and how long it is watched once rates are there."""

    engines: int
    every_seconds: int
    seconds: int


def run(wanted: Wanted) -> Report:
    """Watch for so long, and say what the rules took of it."""
    texts: dict[str, Callable[[], str]] = {f"engine-{n}": _engine for n in range(wanted.engines)}
    texts["router"] = lambda: _router(wanted.engines)
    with pages(texts) as port:
        config = _config(wanted, port)
        return _report(wanted, _watched(wanted, config, {}), _watched(wanted, config, _rules(wanted)))


def _watched(wanted: Wanted, config: Mapping[str, Any], rules: Mapping[str, Any]) -> dict[str, float]:
    """What a Prometheus says of itself; `cpu` is what it used while it was watched."""
    with tempfile.TemporaryDirectory() as folder, prometheus(Path(folder) / "prometheus", config, rules) as url:
        time.sleep(3 * wanted.every_seconds)
        before = _measured(url)
        time.sleep(wanted.seconds)
        after = _measured(url)
    return {**after, "cpu": after["cpu"] - before["cpu"]}


def _rules(wanted: Wanted) -> dict[str, dict[str, Any]]:
    intent = {
        "stack_models": [{"name": MODEL, "source": "/models/bench", "replicas": wanted.engines}],
        "stack_observe": {"scrape_interval_seconds": wanted.every_seconds},
    }
    groups = ["edge", "engines", "observe"]
    hosts = [{"name": "box", "address": "127.0.0.1", "groups": groups, "gpus": wanted.engines}]
    return rule_files(stackplan.plan(intent, hosts), {MODEL: f"model-{MODEL}"})


def _config(wanted: Wanted, port: int) -> dict[str, Any]:
    every = f"{wanted.every_seconds}s"

    def job(name: str, services: list[str], **labels: str) -> dict[str, Any]:
        targets = [
            {
                "targets": [f"127.0.0.1:{port}"],
                "labels": {"__metrics_path__": f"/{s}", "host": "box", "service": s, **labels},
            }
            for s in services
        ]
        return {"job_name": name, "static_configs": targets}

    engines = [f"engine-{n}" for n in range(wanted.engines)]
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "scrape_configs": [job("engines", engines, model=MODEL), job("router", ["router"])],
    }


def _engine() -> str:
    """One engine's page; its counters follow the clock."""
    now, labels = time.monotonic(), f'model_name="{MODEL}",engine="0"'
    lines = [f"vllm:{name}{{{labels}}} 0.5" for name in _GAUGES.split()]
    lines += [
        f"vllm:{name if 'time' in name else f'{name}_total'}{{{labels}}} {now * 100}" for name in _COUNTERS.split()
    ]
    for name, bounds in _BOUNDS.items():
        every = [*bounds.split(), "+Inf"]
        lines += [
            f'vllm:{name}_seconds_bucket{{{labels},le="{bound}"}} {now * (at + 1)}' for at, bound in enumerate(every)
        ]
    return "\n".join(lines) + "\n"


def _router(engines: int) -> str:
    now, lines = time.monotonic(), []
    for n in range(engines):
        labels = f'engine="engine-{n}",model="{MODEL}"'
        lines += [f"ironrack_router_engine_{name}{{{labels}}} 1" for name in _ENGINE_GAUGES.split()]
        lines += [f'ironrack_router_engine_state{{{labels},state="{state}"}} 0' for state in ("ready", "ejected")]
        lines += [
            f'ironrack_router_decisions_total{{engine="engine-{n}",why="{why}"}} {now}' for why in ("home", "new")
        ]
    return "\n".join(lines) + "\n"


_ASKED = {
    "cpu": "sum(process_cpu_seconds_total)",
    "resident": "sum(process_resident_memory_bytes)",
    "series": "sum(prometheus_tsdb_head_series)",
    "recorded": 'count({__name__=~"ironrack:.+"})',
    "samples": "sum(scrape_samples_scraped)",
    "missed": "sum(prometheus_rule_group_iterations_missed_total)",
}


def _measured(url: str) -> dict[str, float]:
    return {name: _value(url, expr) for name, expr in _ASKED.items()}


def _value(url: str, expr: str) -> float:
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}", timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def _report(wanted: Wanted, bare: Mapping[str, float], found: Mapping[str, float]) -> Report:
    rows = [
        ("samples read at each scrape", f"{found['samples']:,.0f}"),
        ("series that the rules record", f"{found['recorded']:,.0f}"),
        ("series in all", f"{found['series']:,.0f}"),
        ("CPU of Prometheus without rules, cores", f"{bare['cpu'] / wanted.seconds:.3f}"),
        ("CPU of Prometheus with them, cores", f"{found['cpu'] / wanted.seconds:.3f}"),
        ("memory of Prometheus without rules", f"{bare['resident'] / 2**20:,.0f} MiB"),
        ("memory of Prometheus with them", f"{found['resident'] / 2**20:,.0f} MiB"),
        ("evaluations missed", f"{found['missed']:,.0f}"),
    ]
    title = f"{wanted.engines} engines, read every {wanted.every_seconds} s, watched for {wanted.seconds} s"
    return Report(
        "rules",
        {"engines": wanted.engines},
        {"bare": dict(bare), "rules": dict(found)},
        [Table(title, ["what", "how much"], rows)],
    )
