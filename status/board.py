"""What is shown, as values: the same for the screen and for JSON. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from status.sources import Sample, Seen, values

QUIET = frozenset({"none", "info"})  # severities that nobody needs to act on


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine. None: nothing is known, for example because nobody asked it lately. Ratios are 0 to 1."""

    name: str
    model: str
    state: str
    in_flight: float | None
    waiting: float | None
    uncached_tokens: float | None
    prefill_tokens_per_second: float | None
    kv_usage_ratio: float | None
    prefix_hit_ratio: float | None
    ttft_p50_seconds: float | None
    ttft_p99_seconds: float | None


@dataclass(frozen=True, slots=True)
class Model:
    """One model, over all its engines."""

    name: str
    engines: int
    available: int
    requests_per_second: float | None
    tokens_per_second: float | None
    prefix_hit_ratio: float | None
    first_byte_p50_seconds: float | None
    first_byte_p99_seconds: float | None


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that fires: since when, where, and the page that says what to do."""

    name: str
    severity: str
    where: str
    since: str
    summary: str
    runbook: str


@dataclass(frozen=True, slots=True)
class Board:
    """Everything on the screen. `problems`: what is wrong with the watching itself."""

    at: str
    engines: Sequence[Engine]
    models: Sequence[Model]
    queue_requests: float | None
    queue_capacity_requests: float | None
    affinity_hit_ratio: float | None
    fallback_active: bool
    settings_in_force: bool
    alerts: Sequence[Alert]
    targets_up: int
    targets_down: Sequence[str]
    problems: Sequence[str] = field(default_factory=list)


def board(seen: Seen, now: datetime) -> Board:
    """Put together what was seen."""
    found = seen.samples
    down = [target for target in seen.targets if target.get("health") != "up"]
    return Board(
        at=now.isoformat(timespec="seconds"),
        engines=_engines(found),
        models=_models(found),
        queue_requests=_one(sum, values(found, "queue_requests")),
        queue_capacity_requests=_one(sum, values(found, "queue_capacity_requests")),
        affinity_hit_ratio=_one(max, values(found, "affinity_hit_ratio")),
        fallback_active=any(values(found, "edge_fallback_active")),
        settings_in_force=all(values(found, "router_config_ok")),
        alerts=_alerts(seen.alerts),
        targets_up=len(seen.targets) - len(down),
        targets_down=sorted(f"{_named(target.get('labels', {}))}: {target.get('lastError') or '?'}" for target in down),
        problems=seen.problems,
    )


def _engines(found: Sequence[Sample]) -> list[Engine]:
    names = sorted({(s.labels.get("model", ""), s.labels["engine"]) for s in found if s.name == "engine_state"})
    return [_engine(found, model, name) for model, name in names]


def _engine(found: Sequence[Sample], model: str, name: str) -> Engine:
    mine = [sample for sample in found if sample.labels.get("engine") == name]

    def only(series: str, join: Callable[[Iterable[float]], float] = max, **labels: str) -> float | None:
        return _one(join, values(mine, series, **labels))

    return Engine(
        name=name,
        model=model,
        state=_state(mine),
        in_flight=only("engine_in_flight", sum),
        waiting=only("engine_requests_waiting"),
        uncached_tokens=only("engine_uncached_tokens", sum),
        prefill_tokens_per_second=only("engine_prefill_tokens_per_second"),
        kv_usage_ratio=only("engine_kv_usage_ratio"),
        prefix_hit_ratio=only("engine_prefix_hit_ratio"),
        ttft_p50_seconds=only("engine_ttft_seconds:quantile", quantile="0.5"),
        ttft_p99_seconds=only("engine_ttft_seconds:quantile", quantile="0.99"),
    )


def _state(mine: Sequence[Sample]) -> str:
    """In words; routers that do not agree are both told."""
    states = {s.labels.get("state", "") for s in mine if s.name == "engine_state" and s.value > 0}
    return "/".join(sorted(states)) or "unknown"


def _models(found: Sequence[Sample]) -> list[Model]:
    return [_model(found, name) for name in sorted({s.labels.get("model", "") for s in found} - {""})]


def _model(found: Sequence[Sample], name: str) -> Model:
    def of(series: str, join: Callable[[Iterable[float]], float] = max, **labels: str) -> float | None:
        return _one(join, values(found, series, model=name, **labels))

    engines = {s.labels["engine"]: s for s in found if s.name == "engine_state" and s.labels.get("model") == name}
    ready = [e for e in engines if values(found, "engine_state", engine=e, state="ready") and _ready(found, e)]
    return Model(
        name=name,
        engines=int(of("model_engines") or len(engines)),
        available=int(known if (known := of("model_engines_available")) is not None else len(ready)),
        requests_per_second=of("model_requests:rate", sum),
        tokens_per_second=of("model_generation_tokens:rate"),
        prefix_hit_ratio=of("model_prefix_hit_ratio"),
        first_byte_p50_seconds=of("model_first_byte_seconds:quantile", quantile="0.5"),
        first_byte_p99_seconds=of("model_first_byte_seconds:quantile", quantile="0.99"),
    )


def _ready(found: Sequence[Sample], engine: str) -> bool:
    return max(values(found, "engine_state", engine=engine, state="ready")) > 0


def _alerts(found: Iterable[Mapping[str, Any]]) -> list[Alert]:
    """Those that fire and want something, the gravest first."""
    firing = [alert for alert in found if alert.get("state") == "firing"]
    loud = [_alert(alert) for alert in firing if alert["labels"].get("severity", "") not in QUIET]
    return sorted(loud, key=lambda alert: (alert.severity != "critical", alert.since, alert.name, alert.where))


def _alert(alert: Mapping[str, Any]) -> Alert:
    labels, notes = alert["labels"], alert.get("annotations", {})
    return Alert(
        name=labels.get("alertname", "?"),
        severity=labels.get("severity", ""),
        where=_named(labels),
        since=str(alert.get("activeAt", ""))[:19],
        summary=notes.get("summary", ""),
        runbook=notes.get("runbook_url", ""),
    )


def _named(labels: Mapping[str, str]) -> str:
    """What is meant by labels, shortly: the service on its host, else what is there."""
    words = [labels[key] for key in ("engine", "service", "router", "model", "gpu", "host") if labels.get(key)]
    return " ".join(dict.fromkeys(words)) or labels.get("instance", "")


def _one(join: Callable[[Iterable[float]], float], found: Sequence[float]) -> float | None:
    return join(found) if found else None
