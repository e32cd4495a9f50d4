"""All rules of a stack as the files Prometheus reads: recorded series first, then alerts made of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from observe.rules.alerts import alerts
from observe.rules.edges import edges
from observe.rules.engines import engines
from observe.rules.hosts import hosts
from observe.rules.models import models
from observe.rules.monitoring import monitoring
from observe.rules.parts import Alert, Group, Record
from observe.rules.routers import routers
from observe.rules.slos import slos
from observe.rules.watch import Watch, watch

__all__ = ["Alert", "Group", "Record", "alert_groups", "record_groups", "rule_files", "watch"]


def record_groups(on: Watch) -> dict[str, tuple[Group, ...]]:
    """The groups that record series, by the file they are in."""
    return {
        "engines": engines(on.rate),
        "models": models(on),
        "routers": routers(on.rate),
        "edges": edges(on),
        "hosts": hosts(on.rate),
        "slo": slos(on),
        "monitoring": monitoring(on),
    }


def alert_groups(on: Watch) -> dict[str, tuple[Group, ...]]:
    """The groups that alert, by the file they are in."""
    return {"alerts": alerts(on)}


def rule_files(plan: Mapping[str, Any], backends: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Rule files by name, of a plan as `stackplan.plan` returns it; `backends`: the edge's name for each model."""
    on = watch(plan, backends)
    files = record_groups(on) | alert_groups(on)
    return {
        f"{name}.yml": {"groups": [group.written(on.runbooks) for group in groups]} for name, groups in files.items()
    }
