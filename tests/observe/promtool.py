"""promtool, asked from Python: rules and samples in, what it has against them out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import stackplan
from observe.rules import rule_files
from tests.observe.healthy import STEP_SECONDS

Expected = Mapping[str, float]
BACKENDS = {"qwen": "model-qwen"}


def plan(**observe: Any) -> dict[str, Any]:
    """A plan of two engines on one GPU host, watched from the edge's; read as often as the tests' samples are."""
    intent = {
        "stack_models": [{"name": "qwen", "source": "Qwen/Qwen3-8B", "replicas": 2}],
        "stack_observe": {"scrape_interval_seconds": STEP_SECONDS, **observe},
    }
    hosts: list[dict[str, Any]] = [
        {"name": "edge-1", "address": "10.0.0.1", "groups": ["edge", "observe"]},
        {"name": "gpu-1", "address": "10.0.0.2", "groups": ["engines"], "gpus": 8},
    ]
    return stackplan.plan(intent, hosts)


def write_rules(folder: Path, *, only: str = "", of_alerts: bool = False) -> list[Path]:
    """The rules of the plan in this folder: all, those of one file, or those that alerts are made of."""
    files = rule_files(plan(), BACKENDS)
    groups = [group for name, content in files.items() if only in ("", name) for group in content["groups"]]
    if of_alerts:
        read = _read_by_alerts([rule for group in groups for rule in group["rules"]])
        for group in groups:
            group["rules"] = [rule for rule in group["rules"] if rule.get("record", "") in read or "alert" in rule]
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [group for group in groups if group["rules"]]}, sort_keys=False))
    return [path]


def _read_by_alerts(rules: Sequence[Mapping[str, Any]]) -> set[str]:
    """The recorded series that alerts read, and those that these are made of."""
    found: set[str] = set()
    while True:
        reading = [rule["expr"] for rule in rules if "alert" in rule or rule["record"] in found]
        more = {name for expr in reading for name in re.findall(r"ironrack:[\w:]+", expr)}
        if more <= found:
            return found
        found |= more


def at(minutes: float, expr: str, expected: Expected) -> dict[str, Any]:
    """What an expression must give after so many minutes."""
    samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
    return {"expr": expr, "eval_time": f"{int(minutes * 60)}s", "exp_samples": samples}


def complaints(rules: Sequence[Path], series: Mapping[str, str], asked: Sequence[dict[str, Any]]) -> str:
    """What promtool says against the expectations; nothing when they hold."""
    test = {
        "rule_files": [str(path) for path in rules],
        "evaluation_interval": f"{STEP_SECONDS}s",
        "tests": [
            {
                "interval": f"{STEP_SECONDS}s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": list(asked),
            }
        ],
    }
    path = rules[0].parent / "test.yml"
    path.write_text(yaml.safe_dump(test, sort_keys=False, width=100_000))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
