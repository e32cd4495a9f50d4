"""What the benchmark of real engines counts, and how it tells it."""

from typing import Any

import pytest

from tests.bench.engines.counters import Counters, hit_ratio, idle, imbalance, read
from tests.bench.engines.measured import Measurement, measured
from tests.bench.engines.tables import best, compared, report
from tests.bench.engines.traffic import Traffic
from tests.bench.errors import BenchError

METRICS = """\
# TYPE vllm:prefix_cache_queries counter
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 100.0
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 50.0
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.7e+09
vllm:external_prefix_cache_queries_total{engine="0",model_name="m"} 7.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 1.2e+01
vllm:prompt_tokens_total{engine="0",model_name="m"} 160.0
vllm:num_requests_running{engine="0",model_name="m"} 0.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
"""
TRAFFIC = Traffic("nameless", "m", "shape", "text", warm=10.0, seconds=10.0)
EVEN = {"queries": 100.0, "hits": 50.0, "prompt": 100.0}


def test_counters_are_summed_over_ranks_by_either_name() -> None:
    """Creation times and counters that are named alike are others."""
    assert read(METRICS) == Counters(150.0, 12.0, 160.0)
    assert read(METRICS.replace("_total", "")) == Counters(150.0, 12.0, 160.0)
    assert read("vllm:prefix_cache_queries 1\nvllm:prefix_cache_hits 2\nvllm:prompt_tokens 3\n") == Counters(1, 2, 3)
    with pytest.raises(KeyError, match="prefix_cache_hits_total"):
        read(METRICS.replace("cache_hits", "cache_misses"))


def test_an_engine_that_runs_something_is_not_idle() -> None:
    """Nor one with something waiting."""
    assert idle(METRICS)
    assert not idle(METRICS.replace('running{engine="0",model_name="m"} 0', 'running{engine="0",model_name="m"} 1'))
    assert not idle(METRICS.replace('waiting{engine="0",model_name="m"} 0', 'waiting{engine="0",model_name="m"} 2'))


def test_hits_and_imbalance_are_of_all_engines() -> None:
    """Ratios of sums, of the window alone; nothing asked is no hit and no imbalance."""
    window = Counters(300, 90, 300).since(Counters(100, 40, 0))
    assert window == Counters(200, 50, 300)
    assert hit_ratio([window, Counters(300, 200, 100)]) == 0.5
    assert imbalance([window, Counters(300, 200, 100)]) == 1.5
    assert (hit_ratio([Counters(0, 0, 0)]), imbalance([Counters(0, 0, 0)])) == (0.0, 0.0)


def _turn(begun: float, first: float, ended: float, wrong: str = "") -> dict[str, Any]:
    return {"begun": begun, "first": first, "ended": ended, "gaps": [0.02], "wrong": wrong}


def test_a_measurement_counts_the_window() -> None:
    """First tokens by when a turn began, turns per second by when it ended, failures always."""
    turns = [
        _turn(5.0, 6.0, 11.0),  # ended in it
        _turn(12.0, 12.125, 13.0),  # both
        _turn(19.0, 19.25, 21.0),  # begun in it
        _turn(1.0, 0.0, 0.0, "503: full"),
        _turn(15.0, 0.0, 0.0, "503: full"),
    ]
    found = measured("ironrack", TRAFFIC, 0, {"turns": turns, "engines": [EVEN, EVEN]})
    assert (found.turns, found.per_second, found.failed, found.reasons) == (2, 0.2, 2, {"503: full": 2})
    assert (found.first_p50, found.first_p99) == (125.0, 250.0)
    assert (found.gap_p50, found.hit, found.imbalance) == (20.0, 0.5, 1.0)
    assert found.first_milliseconds == [125.0, 250.0]


def test_no_answer_at_all_says_why() -> None:
    """Tables of nothing help nobody."""
    with pytest.raises(BenchError, match="ironrack: nameless: no answer within the window: 503: full"):
        measured("ironrack", TRAFFIC, 0, {"turns": [_turn(15, 0, 0, "503: full")], "engines": [EVEN]})


def _measured(subject: str, repeat: int, first: float, rate: float, failed: int = 0) -> Measurement:
    turn = _turn(12.0, 12.0 + first, 13.0)
    turns = [turn] * round(rate * TRAFFIC.seconds) + [_turn(12.0, 0, 0, "503:\nfull")] * failed
    return measured(subject, TRAFFIC, repeat, {"turns": turns, "engines": [EVEN, EVEN]})


FOUND = [
    _measured("ironrack", 0, 0.125, 4.0),
    _measured("ironrack", 1, 0.375, 4.0),
    _measured("round robin", 0, 0.5, 2.0, failed=1),
    _measured("round robin", 1, 0.5, 2.0),
    _measured("vllm-router x", 0, 1.0, 5.0),
    _measured("vllm-router x", 1, 1.0, 5.0),
]


def test_the_best_other_is_another_for_each_figure() -> None:
    """The lowest time, the highest rate; ratios are taken repeat by repeat, and there may be nobody to compare with."""
    assert best(FOUND, "nameless", "TTFT p50 (ms)") == "round robin"
    assert best(FOUND, "nameless", "turns/s") == "vllm-router x"
    seen = compared(FOUND, "nameless", "TTFT p50 (ms)", "round robin")
    assert seen is not None
    assert (seen.low, seen.high) == (0.25, 0.75)
    assert best(FOUND[:2], "nameless", "turns/s") is None
    assert compared(FOUND[:2], "nameless", "turns/s", "round robin") is None


def test_a_report_has_a_table_for_each_workload_and_one_that_compares() -> None:
    """In the subjects' order, with why requests failed, and one plot; alone there is nothing to compare."""
    subjects = ["ironrack", "round robin", "vllm-router x"]
    told = report(FOUND, subjects, {"model": "m"}, [])
    figures, ratios = told.tables
    assert [row[0] for row in figures.rows] == subjects
    assert [row[-1] for row in figures.rows] == ["0", "1", "0"]
    assert figures.rows[0][2] == "250 (125 to 375)"
    assert figures.note == "Failed: round robin: 503: full (1)."
    assert ratios.rows == [
        ["nameless", "0.500 (0.250 to 0.750), round robin", ratios.rows[0][2], "0.800, vllm-router x"]
    ]
    assert len(told.plots) == 1
    missed = report(FOUND, subjects, {}, [], [("start of peer", "no|package:\nsee its log")]).tables[-1]
    assert missed.rows == [["start of peer", "no/package: see its log"]]
    assert len(report(FOUND[:2], ["ironrack"], {}, []).tables) == 1
