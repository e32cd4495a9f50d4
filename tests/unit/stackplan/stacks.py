"""Intents and inventories that are right, for tests to make wrong in one place."""

from __future__ import annotations

import copy
from typing import Any

import stackplan

ALL = ["edge", "engines", "observe"]


def one_host(gpus: int = 8) -> list[dict[str, Any]]:
    """One machine that does everything."""
    return [{"name": "box", "groups": ALL, "gpus": gpus}]


def fleet(gpus: int = 8) -> list[dict[str, Any]]:
    """Two edges, two engine hosts, Prometheus on the first edge."""
    return [
        {"name": "edge-1", "address": "10.0.0.1", "groups": ["edge", "observe"]},
        {"name": "edge-2", "address": "10.0.0.2", "groups": ["edge"]},
        {"name": "gpu-1", "address": "10.0.0.3", "groups": ["engines"], "gpus": gpus},
        {"name": "gpu-2", "address": "10.0.0.4", "groups": ["engines"], "gpus": gpus},
    ]


def intent(**sections: Any) -> dict[str, Any]:
    """Two replicas of one model, and whatever sections are given."""
    base: dict[str, Any] = {"stack_models": [{"name": "qwen", "source": "Qwen/Qwen3-8B", "replicas": 2}]}
    return {**copy.deepcopy(base), **{f"stack_{name}": value for name, value in sections.items()}}


def model(**settings: Any) -> dict[str, Any]:
    """One well-formed model with some settings of its own."""
    return {"name": "qwen", "source": "Qwen/Qwen3-8B", **settings}


def services(planned: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The services of one kind, in the plan's order."""
    return [service for service in planned["services"] if service["kind"] == kind]


def problems_of(hosts: list[dict[str, Any]] | None = None, **sections: Any) -> list[str]:
    """What is wrong with the base intent once `sections` replace its own."""
    return stackplan.problems(intent(**sections), hosts if hosts is not None else one_host())
