"""What the router reads from an engine's `/metrics`: a few lines of many. Pure; anything may come in."""

import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

_USAGE = {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"}
_COUNTERS = (
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:iteration_tokens_total_count",
)
_REQUESTS = {"vllm:num_requests_running", "vllm:num_requests_waiting"}
_FIRST_TOKENS = "vllm:time_to_first_token_seconds_count"
_CACHE = "vllm:cache_config_info"
_SLEEP = "vllm:engine_sleep_state"
_STARTED = "process_start_time_seconds"
_VLLM = "|".join(
    name.removeprefix("vllm:") for name in (*_USAGE, *_COUNTERS, *_REQUESTS, _FIRST_TOKENS, _CACHE, _SLEEP)
)
# A line feed in front, not an anchor: that is looked for ten times faster, and nearly all lines are not ours.
_LINE = re.compile(
    rb"\n(vllm:(?:"
    + _VLLM.encode()
    + rb")|"
    + _STARTED.encode()
    + rb")(?:\{([^\n]*)\})? ([0-9.eE+-]{1,32})[ \t\r]*(?=\n|$)"
)
_SIZE = re.compile(rb'(?:^|,)(kv_cache_size_tokens|num_gpu_blocks|block_size)="(\d{1,15})"')


@dataclass(frozen=True, slots=True)
class Scrape:
    """One look at an engine's metrics; what was not there is None.

    `kv_usage`: of the fullest rank, 0…1. `started`: when the process began, in seconds since 1970. `progress`: numbers
    of which some change with every step that computes. `prompt_tokens`, `first_tokens`: of all requests so
    far, all ranks. `busy`: requests that run or wait. `cache_tokens`: what all ranks' KV caches hold together.
    `asleep`: its weights are not where they can compute.
    """

    kv_usage: float | None = None
    started: float | None = None
    progress: tuple[float, ...] | None = None
    prompt_tokens: float | None = None
    first_tokens: float | None = None
    busy: float | None = None
    cache_tokens: int | None = None
    asleep: bool | None = None


def read_metrics(text: bytes) -> Scrape:
    """Read what is there; a line that only looks like one of ours is no line of ours."""
    values: dict[str, list[float]] = {}
    caches: list[int] = []
    for name, labels, octets in _LINE.findall(b"\n" + text):
        if name == _CACHE.encode():
            caches.append(_cache_tokens(labels))
            continue
        if name == _SLEEP.encode() and b'sleep_state="awake"' not in labels:
            continue
        with suppress(ValueError):  # no number: no line of ours
            value = float(octets)
            if math.isfinite(value):
                values.setdefault(name.decode(), []).append(value)
    usages = _of(values, _USAGE)
    counters = [sum(values[name]) for name in _COUNTERS if name in values]
    requests = _of(values, _REQUESTS)
    return Scrape(
        kv_usage=max(usages, default=None),
        started=next(iter(values.get(_STARTED, [])), None),
        progress=(*counters, sum(usages)) if counters else None,
        prompt_tokens=sum(values[_COUNTERS[1]]) if _COUNTERS[1] in values else None,
        first_tokens=sum(values[_FIRST_TOKENS]) if _FIRST_TOKENS in values else None,
        busy=sum(requests) if requests else None,
        cache_tokens=sum(caches) or None,
        asleep=not any(values[_SLEEP]) if _SLEEP in values else None,
    )


def _of(values: dict[str, list[float]], names: Iterable[str]) -> list[float]:
    return [value for name in names for value in values.get(name, [])]


def _cache_tokens(labels: bytes) -> int:
    """One rank's cache: what it says itself, else its blocks."""
    sizes = {name: int(digits) for name, digits in _SIZE.findall(labels)}
    said = sizes.get(b"kv_cache_size_tokens", 0)
    return said or sizes.get(b"num_gpu_blocks", 0) * sizes.get(b"block_size", 0)
