"""What a model's engines do together, and what the plan gave it."""

from __future__ import annotations

from observe.rules.parts import Group, Record
from observe.rules.watch import Watch


def models(watch: Watch) -> tuple[Group, ...]:
    """The group made of the engines' series. Shares are averaged or the largest is taken, never added."""
    return (Group("models", 15, (*_planned(watch), *_sums(), *_shares())),)


def _planned(watch: Watch) -> tuple[Record, ...]:
    counts = [Record("model_engines", f"vector({each.engines})", {"model": each.model}) for each in watch.targets]
    gpus = [Record("model_gpus", f"vector({t.gpus})", {"model": t.model}) for t in watch.targets if t.gpus]
    return (*counts, *gpus)


def _sums() -> tuple[Record, ...]:
    names = ("requests_running", "requests_waiting", "prompt_tokens:rate", "generation_tokens:rate")
    per_gpu = "ironrack:model_generation_tokens:rate / on (model) (ironrack:model_gpus > 0)"
    # Without a router the edge's own checks say what is left.
    available = "sum by (model) (ironrack:engine_available) or sum by (model) (ironrack:edge_server_up)"
    return (
        Record("model_engines_available", available),
        *(Record(f"model_{name}", f"sum by (model) (ironrack:engine_{name})") for name in names),
        Record("model_generation_tokens_per_gpu:rate", per_gpu),
    )


def _shares() -> tuple[Record, ...]:
    hits, queries = (f"sum by (model) (ironrack:engine_prefix_{what}:rate)" for what in ("hits", "queries"))
    able = "sum by (model) (ironrack:engine_prefill_tokens_per_second)"
    return (
        Record("model_kv_usage_ratio:mean", "avg by (model) (ironrack:engine_kv_usage_ratio)"),
        Record("model_kv_usage_ratio:max", "max by (model) (ironrack:engine_kv_usage_ratio)"),
        Record("model_prefix_hit_ratio", f"{hits} / ({queries} > 0)"),
        Record("model_prefill_load_ratio", f"({queries} - {hits}) / ({able} > 0)"),
    )
