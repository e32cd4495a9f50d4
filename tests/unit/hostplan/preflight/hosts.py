"""Recorded hosts, and what tests make wrong about them in one place."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import stackplan
from hostplan.preflight.evaluate import evaluate
from hostplan.preflight.finding import Finding
from roles.preflight.filter_plugins.preflight import rules
from tests.unit.stackplan.stacks import intent, one_host

RULES = rules()
RECORDED = Path(__file__).resolve().parents[3] / "fixtures" / "preflight"
CONFIG = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}


def xml() -> str:
    """What nvidia-smi said of two H200."""
    return (RECORDED / "h200-x2.xml").read_text()


def answer() -> dict[str, Any]:
    """What the probe said there."""
    found: dict[str, Any] = json.loads((RECORDED / "h200-x2-probe.json").read_text())
    return found


def plan(**sections: Any) -> dict[str, Any]:
    """One host with two GPUs and a model on both."""
    model = {"name": "qwen", "source": "/srv/qwen", "gpus_per_replica": 2, "max_model_len": 32768}
    return stackplan.plan(intent(models=[model], **sections), one_host(2))


def facts(planned: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The recorded host, with every image, Docker, the toolkit and the model in place."""
    found: dict[str, Any] = json.loads((RECORDED / "h200-x2.json").read_text())
    found["smi"] = {"xml": xml(), "error": ""}
    found["containers"] |= {"docker": "28.5.1", "toolkit": "1.18.1", "runtimes": ["nvidia", "runc"]}
    images = {service["image"] for service in (planned or plan())["services"]}
    found["images"] = {name: {"present": True, "cuda": "13.0.1" if "vllm" in name else ""} for name in images}
    found["models"] = {"/srv/qwen": {"config": CONFIG, "weights_bytes": 16_060_522_496}}
    return found


def changed(**groups: Any) -> dict[str, Any]:
    """The recorded host with some values changed, group by group."""
    found = copy.deepcopy(facts())
    for group, values in groups.items():
        found[group] = {**found.get(group, {}), **values}
    return found


def texts(findings: list[Finding], check: str = "", level: str = "") -> list[str]:
    """The sentences of one check and level; of all without them."""
    return [each.text for each in findings if check in ("", each.check) and level in ("", each.level)]


def probe(**values: Any) -> dict[str, Any]:
    """What both GPUs answered inside the engine image, with some of it replaced."""
    return {"engine": "engine-qwen-0", "gpus": [0, 1], "skipped": "", "error": "", "answer": {**answer(), **values}}


def judged(found: dict[str, Any], probes: list[dict[str, Any]] | None = None, **sections: Any) -> list[Finding]:
    """Findings of the one host."""
    asked = [probe()] if probes is None else probes
    return evaluate(plan(**sections), {"box": found}, RULES, {"box": asked})["box"]
