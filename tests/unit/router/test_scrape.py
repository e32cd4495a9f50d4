"""What is read from an engine's `/metrics`: by name, summed over ranks, and nothing from what only looks like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scrape import Scrape, read_metrics
from tests.engines.config import from_argv
from tests.engines.metrics import Metrics

TWO_RANKS = b"""# HELP vllm:kv_cache_usage_perc KV-cache usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.75
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="1",model_name="tiny"} 1.0
vllm:num_requests_waiting_by_reason{engine="1",model_name="tiny",reason="capacity"} 5.0
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 100.0
vllm:prompt_tokens_total{engine="1",model_name="tiny"} 200.0
vllm:prompt_tokens_created{engine="1",model_name="tiny"} 1.7e+09
vllm:generation_tokens_total{engine="0",model_name="tiny"} 7.0
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="tiny"} 3.0
vllm:iteration_tokens_total_count{engine="0",model_name="tiny"} 9.0
vllm:cache_config_info{block_size="16",enable_prefix_caching="True",engine="0",kv_cache_size_tokens="1600"} 1.0
vllm:cache_config_info{block_size="16",enable_prefix_caching="True",engine="1",num_gpu_blocks="50"} 1.0
process_start_time_seconds 1.7e+09
"""


def test_ranks_are_summed_and_the_fullest_cache_counts() -> None:
    """One engine may run several ranks: tokens and room add up, pressure is where it is highest."""
    assert read_metrics(TWO_RANKS) == Scrape(
        kv_usage=0.75,
        started=1.7e9,
        progress=(7.0, 300.0, 9.0, 1.0),
        prompt_tokens=300.0,
        busy=3.0,
        cache_tokens=1600 + 50 * 16,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"vllm:gpu_cache_usage_perc 0.5\n", Scrape(kv_usage=0.5)),
        (b"vllm:kv_cache_usage_perc_created 5\nxprocess_start_time_seconds 3\n", Scrape()),
        (b"vllm:kv_cache_usage_perc e\n", Scrape()),
        (b"vllm:kv_cache_usage_perc 1e999\n", Scrape()),
        (b'vllm:cache_config_info{num_gpu_blocks="None",block_size="16"} 1.0\n', Scrape()),
        (b'vllm:cache_config_info{xnum_gpu_blocks="9",block_size="16"} 1.0\n', Scrape()),
        (b"vllm:generation_tokens_total 0.0\r\n", Scrape(progress=(0.0, 0))),
        (b'vllm:engine_sleep_state{engine="0",sleep_state="awake"} 1.0\n', Scrape(asleep=False)),
        (
            b'vllm:engine_sleep_state{sleep_state="awake"} 0.0\nvllm:engine_sleep_state{sleep_state="discard_all"} 1\n',
            Scrape(asleep=True),
        ),
        (b'vllm:engine_sleep_state{sleep_state="discard_all"} 0.0\n', Scrape()),
        (b"", Scrape()),
    ],
)
def test_metrics_are_read_by_name(text: bytes, expected: Scrape) -> None:
    """Old and new names are known, and nothing that only looks like them; no number, no news."""
    assert read_metrics(text) == expected


def test_what_the_simulated_engine_shows_is_read_whole() -> None:
    """The names the tests' own engines use are the ones that are read."""
    metrics = Metrics(from_argv(["--name", "e", "--port", "1", "--model", "sim", "--cache-tokens", "32000"]))
    metrics.gauges(lambda: 1.0, lambda: 2.0, lambda: 0.5)
    found = read_metrics(metrics.text())
    assert (found.kv_usage, found.busy, found.cache_tokens, found.prompt_tokens) == (0.5, 3.0, 32000, 0.0)
    assert found.started is not None
    assert found.asleep is False
    metrics.sleeps(asleep=True)
    assert read_metrics(metrics.text()).asleep is True
    before = found.progress
    metrics.generation.inc()
    assert read_metrics(metrics.text()).progress != before


@given(st.binary(max_size=300))
def test_any_metrics_are_read_without_exception(text: bytes) -> None:
    """An engine may answer anything."""
    for name in (b"vllm:kv_cache_usage_perc ", b"vllm:cache_config_info{", b"vllm:prompt_tokens_total{} "):
        read_metrics(name + text)
