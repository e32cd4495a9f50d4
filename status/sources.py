"""Numbers from Prometheus' recorded series and, where it is away, from the routers themselves."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from status.places import Places

Fetch = Callable[..., bytes]
_PATIENCE_SECONDS = 3.0
_MOST_OCTETS = 67_108_864
# A proxy that the environment names is not for the stack's own addresses.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_SERIES = (
    "engine_(state|in_flight|uncached_tokens|prefill_tokens_per_second|requests_waiting|kv_usage_ratio"
    "|prefix_hit_ratio|ttft_seconds:quantile)",
    "model_(engines|engines_available|requests:rate|generation_tokens:rate|prefix_hit_ratio|first_byte_seconds:quantile)",
    "queue_(requests|capacity_requests)",
    "affinity_hit_ratio",
    "edge_(up|fallback_active)",
    "router_(up|config_ok)",
)
RECORDED = '{__name__=~"ironrack:(' + "|".join(_SERIES) + ')"}'
_RAW = {  # a router's own gauges, by the name of the series that is recorded from them
    "ironrack_router_engine_state": "engine_state",
    "ironrack_router_engine_in_flight": "engine_in_flight",
    "ironrack_router_engine_uncached_tokens": "engine_uncached_tokens",
    "ironrack_router_engine_prefill_tokens_per_second": "engine_prefill_tokens_per_second",
    "ironrack_router_engine_kv_usage_ratio": "engine_kv_usage_ratio",
    "ironrack_router_queue_requests": "queue_requests",
    "ironrack_router_queue_capacity_requests": "queue_capacity_requests",
    "ironrack_router_config_reload_success": "router_config_ok",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One number: a series' name without `ironrack:`, and its labels."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that could be had. `problems`: what could not, in sentences."""

    samples: list[Sample] = field(default_factory=list)
    alerts: list[Mapping[str, Any]] = field(default_factory=list)
    targets: list[Mapping[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def fetch(url: str, login: str = "") -> bytes:
    """GET; `login`: `name:password`. OSError: nobody there, too slow, or not 200."""
    secret = {"authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    with _DIRECT.open(urllib.request.Request(url, headers=secret), timeout=_PATIENCE_SECONDS) as answer:
        body: bytes = answer.read(_MOST_OCTETS)
        return body


def look(places: Places, get: Fetch = fetch) -> Seen:
    """Ask Prometheus, and the routers for what it does not know."""
    seen = Seen()
    if places.prometheus:
        _ask_prometheus(places.prometheus, seen, partial(get, login=places.login) if places.login else get)
    if not any(sample.name == "engine_state" for sample in seen.samples):
        for name, url in places.routers.items():
            _ask_router(name, url, seen, get)
    return seen


def _ask_prometheus(base: str, seen: Seen, get: Fetch) -> None:
    try:
        query = urllib.parse.urlencode({"query": RECORDED})
        found = _data(get(f"{base}/api/v1/query?{query}"))["result"]
        seen.samples.extend(_sample(each) for each in found)
        seen.alerts.extend(_data(get(f"{base}/api/v1/alerts"))["alerts"])
        seen.targets.extend(_data(get(f"{base}/api/v1/targets?state=active"))["activeTargets"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        seen.problems.append(f"Prometheus at {base}: {_said(problem)}: no history, alerts or targets; is it up?")
    else:
        if not seen.samples:
            seen.problems.append(
                f"Prometheus at {base}: no ironrack series: its rules are not there yet, or not loaded"
            )


def _ask_router(name: str, base: str, seen: Seen, get: Fetch) -> None:
    try:
        text = get(f"{base}/metrics").decode()
        seen.samples.extend(_read(text, name))
    except (OSError, ValueError) as problem:
        seen.problems.append(f"{name} at {base}: {_said(problem)}: is it up? docker logs {name}")


def _read(text: str, router: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        if family.name in _RAW:
            for sample in family.samples:
                yield Sample(_RAW[family.name], {**sample.labels, "router": router}, sample.value)


def _data(body: bytes) -> Mapping[str, Any]:
    data: Mapping[str, Any] = json.loads(body)["data"]
    return data


def _sample(found: Mapping[str, Any]) -> Sample:
    labels = dict(found["metric"])
    return Sample(labels.pop("__name__").removeprefix("ironrack:"), labels, float(found["value"][1]))


def _said(problem: Exception) -> str:
    reason = getattr(problem, "reason", problem)
    return " ".join(str(reason).split())[:120] or repr(problem)


def values(samples: Iterable[Sample], name: str, **labels: str) -> list[float]:
    """The numbers of a series with these labels, those that are none left out."""
    return [
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items() and not math.isnan(sample.value)
    ]
