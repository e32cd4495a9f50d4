"""What rules are made of, and how they are written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from observe.dashboards.links import page, panel_path
from observe.series import NAMES, PREFIX

Severity = Literal["critical", "warning", "info", "none"]
QUANTILES = ("0.5", "0.95", "0.99")


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded series. `name` is without the prefix; `labels` are put on every result."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if PREFIX + self.name not in NAMES:
            raise KeyError(f"{self.name}: it was found in a rule: allowed are names in observe/series.py; add it there")

    def written(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        labels = {"labels": dict(self.labels)} if self.labels else {}
        return {"record": PREFIX + self.name, "expr": self.expr, **labels}


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `wait`: how long it must hold; `keep`: how long it stays after it no longer does.

    `dashboard` is the page to look at first; `summary` reads as a sentence, `description` tells the values.
    """

    name: str
    severity: Severity
    expr: str
    summary: str
    description: str
    dashboard: str
    wait: str = ""
    keep: str = ""

    def written(self, runbooks: str) -> dict[str, Any]:
        """As Prometheus reads it; `runbooks` is the folder or address where the pages are."""
        times = {"for": self.wait, "keep_firing_for": self.keep}
        return {
            "alert": self.name,
            "expr": self.expr,
            **{key: value for key, value in times.items() if value},
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbooks.rstrip('/')}/{page(self.name)}",
                "dashboard": panel_path(self.name) or f"/d/ironrack-{self.dashboard}",
            },
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, every `seconds`."""

    name: str
    seconds: int
    rules: tuple[Record | Alert, ...]

    def written(self, runbooks: str) -> dict[str, Any]:
        """As Prometheus reads it."""
        rules = [rule.written() if isinstance(rule, Record) else rule.written(runbooks) for rule in self.rules]
        return {"name": f"ironrack-{self.name}", "interval": f"{self.seconds}s", "rules": rules}


def quantiles(name: str, buckets: str) -> tuple[Record, ...]:
    """The quantiles of an expression that has `le`; nothing while nothing was observed (the value would be NaN)."""
    return tuple(
        Record(f"{name}:quantile", f"histogram_quantile({q}, {buckets}) >= 0", {"quantile": q}) for q in QUANTILES
    )
