"""Whatever names an engine's release uses, the same series come out; one that tells both names is counted once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from observe.rules import Record, record_groups, watch
from observe.rules.engines import engines
from observe.series import NAMES
from tests.observe import promtool
from tests.observe.healthy import always, pace
from tests.observe.test_alerts import needs_promtool

TARGET = 'job="engines",host="gpu-1",service="qwen-0",model="qwen"'
VLLM = f'{TARGET},model_name="qwen",engine="0"'
LABELS = 'engine="qwen-0",host="gpu-1",model="qwen"'
RECORDS = [
    rule
    for groups in record_groups(watch(promtool.plan(), promtool.BACKENDS)).values()
    for group in groups
    for rule in group.rules
    if isinstance(rule, Record)
]
# A series, its expected value, the samples of the new names, and those of the old ones.
RENAMED: list[tuple[str, float, dict[str, str], dict[str, str]]] = [
    (
        "engine_kv_usage_ratio",
        0.5,
        {f"vllm:kv_cache_usage_perc{{{VLLM}}}": always(0.5)},
        {f"vllm:gpu_cache_usage_perc{{{VLLM}}}": always(0.5)},
    ),
    (
        "engine_prefix_hit_ratio",
        0.75,
        {f"vllm:prefix_cache_{what}_total{{{VLLM}}}": pace(n) for what, n in (("queries", 240), ("hits", 180))},
        {f"vllm:gpu_prefix_cache_{what}_total{{{VLLM}}}": pace(n) for what, n in (("queries", 240), ("hits", 180))},
    ),
    (
        "engine_prefix_hits:rate",
        3,
        {f"vllm:prefix_cache_hits_total{{{VLLM}}}": pace(180)},
        {f"vllm:gpu_prefix_cache_hits_total{{{VLLM}}}": pace(180)},
    ),
    *(
        (
            series,
            value,
            {f'vllm:inter_token_latency_seconds_bucket{{{VLLM},le="{le}"}}': pace(n) for le, n in buckets},
            {f'vllm:time_per_output_token_seconds_bucket{{{VLLM},le="{le}"}}': pace(n) for le, n in buckets},
        )
        for buckets in ([("0.05", 0), ("0.1", 60), ("+Inf", 60)],)
        for series, value in (
            ('engine_itl_seconds:quantile{quantile="0.5"}', 0.075),
            ('engine_itl_seconds:bucket_rate{le="0.1"}', 1),
            ('model_itl_seconds:quantile{quantile="0.95"}', 0.0975),
        )
    ),
]
# Names that never changed.
KEPT: list[tuple[str, float, dict[str, str]]] = [
    ("engine_requests_running", 3, {f"vllm:num_requests_running{{{VLLM}}}": always(3)}),
    ("engine_requests_waiting", 2, {f"vllm:num_requests_waiting{{{VLLM}}}": always(2)}),
    ("engine_prompt_tokens:rate", 5, {f"vllm:prompt_tokens_total{{{VLLM}}}": pace(300)}),
    ("engine_generation_tokens:rate", 5, {f"vllm:generation_tokens_total{{{VLLM}}}": pace(300)}),
    ("engine_preemptions:rate", 1, {f"vllm:num_preemptions_total{{{VLLM}}}": pace(60)}),
    (
        'engine_requests_finished:rate{reason="stop"}',
        1,
        {f'vllm:request_success_total{{{VLLM},finished_reason="stop"}}': pace(60)},
    ),
    ("engine_prefix_hit_ratio", 0.6, {f"vllm:gpu_prefix_cache_hit_rate{{{VLLM}}}": always(0.6)}),
    *(
        (f"{series}:mean", 2, {f"vllm:{raw}_{part}{{{VLLM}}}": pace(n) for part, n in (("sum", 120), ("count", 60))})
        for series, raw in (
            ("engine_prefill_seconds", "request_prefill_time_seconds"),
            ("engine_decode_seconds", "request_decode_time_seconds"),
            ("engine_prompt_length_tokens", "request_prompt_tokens"),
            ("engine_answer_length_tokens", "request_generation_tokens"),
        )
    ),
    *(
        (
            f'engine_{noun}_seconds:bucket_rate{{le="1.0"}}',
            1,
            {f'vllm:{raw}_bucket{{{VLLM},le="1.0"}}': pace(60)},
        )
        for noun, raw in (
            ("ttft", "time_to_first_token_seconds"),
            ("e2e", "e2e_request_latency_seconds"),
            ("queue", "request_queue_time_seconds"),
        )
    ),
    (
        "engine_external_prefix_hit_ratio",
        0.25,
        {f"vllm:external_prefix_cache_{what}_total{{{VLLM}}}": pace(n) for what, n in (("queries", 240), ("hits", 60))},
    ),
    (
        'engine_kv_offload_bytes:rate{direction="GPU_to_CPU"}',
        1,
        {f'vllm:kv_offload_total_bytes_total{{{VLLM},transfer_type="GPU_to_CPU"}}': pace(60)},
    ),
    (
        "engine_draft_accept_ratio",
        0.5,
        {
            f"vllm:spec_decode_num_accepted_tokens_total{{{VLLM}}}": pace(60),
            f"vllm:spec_decode_num_draft_tokens_total{{{VLLM}}}": pace(120),
        },
    ),
]


def _gives(folder: Path, series: str, value: float, samples: Mapping[str, str]) -> str:
    asked = promtool.at(20, f"sum(round(ironrack:{series}, 0.0001))", {"{}": value})
    return promtool.complaints(promtool.write_rules(folder, only="engines.yml"), samples, [asked])


@needs_promtool
@pytest.mark.parametrize("spelling", ["new", "old", "both"])
def test_renamed_metrics_give_the_same_series(spelling: str, tmp_path: Path) -> None:
    """New names, old names and both at once: one value, counted once."""
    found = {}
    for series, value, new, old in RENAMED:
        samples = {"new": new, "old": old, "both": {**new, **old}}[spelling]
        found[series] = _gives(tmp_path, series, value, samples)
    assert not {series: text for series, text in found.items() if text}


@needs_promtool
def test_metrics_that_kept_their_names_give_their_series(tmp_path: Path) -> None:
    """Every other rule of the adapter, by itself."""
    found = {series: _gives(tmp_path, series, value, samples) for series, value, samples in KEPT}
    assert not {series: text for series, text in found.items() if text}


@needs_promtool
def test_parts_of_a_data_parallel_engine_are_one_engine(tmp_path: Path) -> None:
    """vLLM's own label `engine` is a rank: ranks add up, and of a share the largest counts."""
    ranks = [f'{TARGET},model_name="qwen",engine="{rank}"' for rank in (0, 1)]
    samples = {f"vllm:num_requests_running{{{rank}}}": always(2) for rank in ranks}
    samples |= {
        f"vllm:kv_cache_usage_perc{{{rank}}}": always(share) for rank, share in zip(ranks, (0.2, 0.9), strict=True)
    }
    asked = [
        promtool.at(20, f"ironrack:{name}", {f"ironrack:{name}{{{LABELS}}}": value})
        for name, value in (("engine_requests_running", 4), ("engine_kv_usage_ratio", 0.9))
    ]
    assert not promtool.complaints(promtool.write_rules(tmp_path, only="engines.yml"), samples, asked)


def test_every_rule_of_the_adapter_is_tested_here() -> None:
    """A rule that reads vLLM and has no sample above would go unnoticed when a name changes."""
    told = " ".join(name for *_, new, old in RENAMED for name in (*new, *old)) + " ".join(
        name for *_, samples in KEPT for name in samples
    )
    rules = [rule for group in engines("120s") for rule in group.rules if isinstance(rule, Record)]
    read = {name for rule in rules for name in re.findall(r"vllm:\w+", rule.expr)}
    # The name a counter would have if its exporter did not put _total behind it.
    assert not {name for name in read if not re.search(rf"{name}\b", told)} - {"vllm:kv_offload_total_bytes"}


def test_only_the_adapter_reads_engines_names() -> None:
    """`vllm:` stands in the adapter's groups and nowhere else."""
    adapter = {id(rule) for rule in RECORDS if rule.name.startswith(("engine_", "model_"))}
    assert not [rule.name for rule in RECORDS if "vllm:" in rule.expr and id(rule) not in adapter]
    reading = {rule.name for rule in RECORDS if "vllm:" in rule.expr}
    assert reading <= {rule.name for group in engines("120s") for rule in group.rules}


def test_the_list_and_the_rules_name_the_same_series() -> None:
    """Every series of the list is recorded, and nothing else is."""
    # Without a GPU in the plan, a rule or two are left out; the test's plan has one for each engine.
    assert {"ironrack:" + rule.name for rule in RECORDS} == set(NAMES)
