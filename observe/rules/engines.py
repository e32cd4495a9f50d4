"""The adapter: whatever names a release of vLLM uses become our series. No other rule reads `vllm:*`.

Where a name changed, the new one counts and the old one stands in; an engine that tells both is counted once.
"""

from __future__ import annotations

from observe.rules.parts import Group, Record, quantiles

_HISTOGRAMS = {
    "ttft": ("vllm:time_to_first_token_seconds",),
    "itl": ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
    "e2e": ("vllm:e2e_request_latency_seconds",),
    "queue": ("vllm:request_queue_time_seconds",),
}


def engines(window: str) -> tuple[Group, ...]:
    """Both groups that read engines; `window` is that of every rate."""
    return (
        Group("engines", 15, (*_gauges(), *_rates(window), *_prefixes(window), *_means(window), *_rare(window))),
        Group("engine-latency", 15, _histograms(window)),
    )


def of_engine(expr: str, how: str = "sum", more: str = "") -> str:
    """Aggregate by engine. vLLM's own label `engine` is the rank of a data-parallel part: it is summed over."""
    inner = f"{how} by (host, service, model{more}) ({expr})"
    return f'sum without (service) (label_replace({inner}, "engine", "$1", "service", "(.+)"))'


def _rate(window: str, *names: str) -> str:
    return " or ".join(f"rate({name}[{window}])" for name in names)


def _gauges() -> tuple[Record, ...]:
    return (
        Record("engine_up", of_engine('up{job="engines"}', "max")),
        Record("engine_requests_running", of_engine("vllm:num_requests_running")),
        Record("engine_requests_waiting", of_engine("vllm:num_requests_waiting")),
        Record("engine_kv_usage_ratio", of_engine("vllm:kv_cache_usage_perc or vllm:gpu_cache_usage_perc", "max")),
        Record("engine_restarts:1h", of_engine('changes(process_start_time_seconds{job="engines"}[1h])', "max")),
    )


def _rates(window: str) -> tuple[Record, ...]:
    reasons = f'label_replace({_rate(window, "vllm:request_success_total")}, "reason", "$1", "finished_reason", "(.+)")'
    counted = {
        "engine_prompt_tokens:rate": ("vllm:prompt_tokens_total",),
        "engine_generation_tokens:rate": ("vllm:generation_tokens_total",),
        "engine_preemptions:rate": ("vllm:num_preemptions_total",),
    }
    return (
        *(Record(name, of_engine(_rate(window, *raw))) for name, raw in counted.items()),
        Record("engine_requests_finished:rate", of_engine(reasons, more=", reason")),
    )


def _prefixes(window: str) -> tuple[Record, ...]:
    """The share of prompts found in the cache: two counters, before that with `gpu_`, before that one gauge."""
    names = {
        what: (f"vllm:prefix_cache_{what}_total", f"vllm:gpu_prefix_cache_{what}_total") for what in ("queries", "hits")
    }
    counted = "ironrack:engine_prefix_hits:rate / (ironrack:engine_prefix_queries:rate > 0)"
    told = of_engine("vllm:gpu_prefix_cache_hit_rate >= 0", "avg")
    return (
        *(Record(f"engine_prefix_{what}:rate", of_engine(_rate(window, *raw))) for what, raw in names.items()),
        Record("engine_prefix_hit_ratio", f"{counted} or {told}"),
    )


def _means(window: str) -> tuple[Record, ...]:
    of = {
        "engine_prefill_seconds:mean": "vllm:request_prefill_time_seconds",
        "engine_decode_seconds:mean": "vllm:request_decode_time_seconds",
        "engine_prompt_length_tokens:mean": "vllm:request_prompt_tokens",
        "engine_answer_length_tokens:mean": "vllm:request_generation_tokens",
    }
    return tuple(
        Record(name, f"{of_engine(_rate(window, f'{raw}_sum'))} / ({of_engine(_rate(window, f'{raw}_count'))} > 0)")
        for name, raw in of.items()
    )


def _rare(window: str) -> tuple[Record, ...]:
    """What only some engines tell: KV offload and speculative decoding."""

    def share(part: str, whole: str) -> str:
        return f"{of_engine(_rate(window, part))} / ({of_engine(_rate(window, whole))} > 0)"

    moved = _rate(window, "vllm:kv_offload_total_bytes_total", "vllm:kv_offload_total_bytes")
    moved = f'label_replace({moved}, "direction", "$1", "transfer_type", "(.+)")'
    return (
        Record(
            "engine_external_prefix_hit_ratio",
            share("vllm:external_prefix_cache_hits_total", "vllm:external_prefix_cache_queries_total"),
        ),
        Record("engine_kv_offload_bytes:rate", of_engine(moved, more=", direction")),
        Record(
            "engine_draft_accept_ratio",
            share("vllm:spec_decode_num_accepted_tokens_total", "vllm:spec_decode_num_draft_tokens_total"),
        ),
    )


def _histograms(window: str) -> tuple[Record, ...]:
    found: list[Record] = []
    for noun, names in _HISTOGRAMS.items():
        buckets = _rate(window, *(f"{name}_bucket" for name in names))
        found.append(Record(f"engine_{noun}_seconds:bucket_rate", of_engine(buckets, more=", le")))
        found += quantiles(f"engine_{noun}_seconds", f"ironrack:engine_{noun}_seconds:bucket_rate")
        model = f"sum by (model, le) (ironrack:engine_{noun}_seconds:bucket_rate)"
        found.append(Record(f"model_{noun}_seconds:bucket_rate", model))
        found += quantiles(f"model_{noun}_seconds", f"ironrack:model_{noun}_seconds:bucket_rate")
    return tuple(found)
