"""Engines and models."""

from __future__ import annotations

from observe.rules.parts import Alert

# The router's word for an engine whose tokens stand still.
_STALLED = 'ironrack:engine_eject_reason{reason="stalled"} == 1'
_TOKENS = (
    "sum by (engine, model) (ironrack:engine_generation_tokens:rate)"
    " + sum by (engine, model) (ironrack:engine_prompt_tokens:rate)"
)


def engine_alerts() -> tuple[Alert, ...]:
    """From no engine at all to a full cache."""
    busy = "(ironrack:engine_in_flight > 0 or sum by (engine, model) (ironrack:engine_requests_running) > 0)"
    still = f"({busy} unless on (engine) ({_TOKENS} > 0))"
    # Probing is no longer frozen: it waits for a request to try it with, which counts above once it is there.
    out = 'ironrack:engine_state{state="ejected"} == 1'
    stalled = f"max by (engine, model) ({out}) and on (engine) ({_STALLED})"
    return (
        Alert(
            "ModelWithoutEngine",
            "critical",
            "ironrack:model_engines_available == 0",
            "No engine serves {{ $labels.model }}",
            "Every request for {{ $labels.model }} is refused with 503: none of its engines gets new work.",
            "fleet",
            "30s",
        ),
        Alert(
            "LastEngineOfModel",
            "warning",
            "ironrack:model_engines_available == 1 and on (model) ironrack:model_engines > 1",
            "Only one engine of {{ $labels.model }} is left",
            "The next failure takes {{ $labels.model }} away. The others are out, draining or starting.",
            "fleet",
            "2m",
        ),
        Alert(
            "EngineFrozen",
            "critical",
            f"{still} or {stalled}",
            "Engine {{ $labels.engine }} has requests but makes no tokens",
            "{{ $labels.engine }} ({{ $labels.model }}) holds requests and neither reads prompts nor generates.",
            "engine",
            "2m",
        ),
        Alert(
            "EngineFlapping",
            "warning",
            "ironrack:engine_ejections:1h >= 3 or max by (engine, model) (ironrack:engine_restarts:1h) >= 3",
            "Engine {{ $labels.engine }} keeps failing and coming back",
            "{{ $labels.engine }} ({{ $labels.model }}) failed or restarted {{ $value | humanize }} times in an hour.",
            "engine",
        ),
        Alert(
            "KvCacheSaturated",
            "warning",
            "ironrack:engine_kv_usage_ratio > 0.95",
            "The KV cache of engine {{ $labels.engine }} is full",
            "{{ $value | humanizePercentage }} of the KV cache of {{ $labels.engine }} ({{ $labels.model }}) is in use:"
            " requests wait or are thrown out of the batch and begun again.",
            "engine",
            "10m",
        ),
    )
