"""From the plan and a host's facts to the question whether each of its models fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from hostplan.preflight import boards, fit, want
from hostplan.preflight.finding import Finding, skipped
from hostplan.preflight.model_config import shape
from hostplan.preflight.smi import Smi


def checks(plan: want.Plan, host: str, facts: Mapping[str, Any], smi: Smi | None, at_once: int) -> list[Finding]:
    """One finding for each model of a host: its engines are alike but for their GPUs, and the smallest decides.

    Before the driver is there a GPU's memory is what its PCI id says. A host without planned GPUs is not judged.
    """
    if not smi and not want.gpus(plan, host):
        return []
    found = []
    for service in _first_of_each(want.engines(plan, host)):
        asked = wanted(plan, service, facts, smi, at_once)
        config = facts["models"].get(want.model_of(plan, service)["source"], {}).get("config")
        if config is None:
            text = f"{service['name']}: its config.json is not on this host yet"
            found.append(skipped(fit.CHECK, text))
        else:
            found.append(fit.check(shape(config), asked))
    return found


def wanted(
    plan: want.Plan, service: want.Service, facts: Mapping[str, Any], smi: Smi | None, at_once: int
) -> fit.Asked:
    """What one engine is given and asked for: the plan's settings, and what an operator's own flags say."""
    model, engines = want.model_of(plan, service), plan["settings"]["engines"]
    flags = flag_values([*engines["args"], *model["engine_args"]])
    sizes = memories(facts, smi)
    memory = [sizes[index] for index in service["gpus"] if index < len(sizes)]
    return fit.Asked(
        engine=service["name"],
        gpus=max(1, len(service["gpus"])),
        memory_bytes=min(memory, default=0),
        share=engines["gpu_memory_utilization"],
        length=model["max_model_len"] or 0,
        at_once=at_once,
        cache_dtype=flags.get("--kv-cache-dtype", "auto"),
        step_tokens=_number(flags, "--max-num-batched-tokens", fit.STEP_TOKENS),
        max_sequences=_number(flags, "--max-num-seqs", 256),
        weights_bytes=facts["models"].get(model["source"], {}).get("weights_bytes") or 0,
        by_id=smi is None,
    )


def memories(facts: Mapping[str, Any], smi: Smi | None) -> list[int]:
    """Bytes of each GPU by index: as the driver counts them, else those of its board, 0 for an id that says nothing."""
    if smi:
        return [gpu.memory_bytes for gpu in smi.gpus]
    return [gpu.board.memory_gib * fit.GIB for gpu in boards.of(facts)]


def flag_values(args: Sequence[str]) -> dict[str, str]:
    """`--flag value` and `--flag=value`, the last one wins as it does in vLLM."""
    found = {}
    for one, following in pairwise([*args, ""]):
        name, equals, value = one.partition("=")
        if name.startswith("--"):
            found[name.replace("_", "-")] = value if equals else "" if following.startswith("--") else following
    return found


def _number(flags: Mapping[str, str], name: str, default: int) -> int:
    text = flags.get(name, "")
    return int(text) if text.isdigit() else default


def _first_of_each(engines: Sequence[want.Service]) -> list[want.Service]:
    return list({service["model"]: service for service in reversed(engines)}.values())[::-1]
