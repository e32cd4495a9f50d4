"""What the rules need to know of a plan, worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Below this a rate would be made of fewer than four readings.
_READINGS = 4
_LOOKBACK_DAYS = 7
RUNBOOKS = "docs/runbooks"
_SHORTEST_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Target:
    """A model as the rules see it. `proxy`: its backend at the edge; seconds and shares are what is promised."""

    model: str
    proxy: str
    engines: int
    gpus: int
    ttft_seconds: float
    itl_seconds: float
    latency_ratio: float
    availability_ratio: float


@dataclass(frozen=True, slots=True)
class Watch:
    """A plan's part in the rules. `rate` is the window of every rate, such as `120s`."""

    targets: tuple[Target, ...]
    scrape_seconds: int
    rate: str
    lookback_days: int
    availability_ratio: float
    runbooks: str


def watch(plan: Mapping[str, Any], backends: Mapping[str, str]) -> Watch:
    """Read a plan, as `stackplan.plan` returns it. `backends`: what the edge calls each model's engines."""
    mine = plan["settings"]["observe"]
    every = int(mine["scrape_interval_seconds"])
    return Watch(
        targets=tuple(_target(plan, model, backends) for model in plan["settings"]["models"]),
        scrape_seconds=every,
        rate=f"{max(_SHORTEST_SECONDS, _READINGS * every)}s",
        lookback_days=mine["slo"]["lookback_days"] or min(_LOOKBACK_DAYS, mine["retention_days"]),
        availability_ratio=mine["slo"]["availability_ratio"],
        runbooks=mine["runbooks_url"] or RUNBOOKS,
    )


def _target(plan: Mapping[str, Any], model: Mapping[str, Any], backends: Mapping[str, str]) -> Target:
    promised = _promised(plan["settings"]["observe"]["slo"], model["name"])
    engines = [each for each in plan["services"] if each["kind"] == "engine" and each["model"] == model["name"]]
    return Target(
        model=model["name"],
        proxy=backends[model["name"]],
        engines=len(engines),
        gpus=sum(len(engine["gpus"]) for engine in engines),
        **promised,
    )


def _promised(slo: Mapping[str, Any], model: str) -> dict[str, float]:
    """What is promised for all models, and what for this one instead."""
    names = ("ttft_seconds", "itl_seconds", "latency_ratio", "availability_ratio")
    own: Mapping[str, Any] = next((each for each in slo["models"] if each["name"] == model), {})
    return {name: float(slo[name] if own.get(name) is None else own[name]) for name in names}
