"""When an engine counts as stuck, and how often it may be ended for that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.loading import module_at
from tests.support.processes import ROOT

AFTER = 300.0
HOUR = 3600.0
MODULE = module_at(ROOT / "roles" / "engine" / "files" / "restart_stuck.py")


def _ready(now: float = 0.0, computed: float = 100.0) -> Any:
    patience = MODULE.Patience(AFTER)
    patience.looked(computed, now)
    return patience


def _unanswered(patience: Any, times: int = 2) -> Any:
    patience.unanswered += times
    return patience


def test_engine_that_computes_nothing_and_answers_nothing_is_stuck() -> None:
    """After the whole time, and not before."""
    patience = _unanswered(_ready())
    patience.looked(100.0, 150.0)
    assert not patience.stuck(AFTER - 1)
    assert patience.stuck(AFTER)


@pytest.mark.parametrize("computed", [None, 100.0])
def test_engine_that_was_never_ready_is_not(computed: float | None) -> None:
    """It loads its weights, for as long as that takes."""
    patience = MODULE.Patience(AFTER)
    patience.computed = computed
    patience.looked(computed, 0.0)
    assert not patience.doubtful(1e9)
    assert not _unanswered(patience).stuck(1e9)


@pytest.mark.parametrize("unanswered", [0, 1])
def test_one_request_unanswered_is_not_enough(unanswered: int) -> None:
    """Nothing computed may be nothing to compute."""
    assert not _unanswered(_ready(), unanswered).stuck(AFTER * 10)


def test_engine_that_does_not_say_what_it_computed_gets_no_further_time() -> None:
    """Its metrics hang as everything else does."""
    patience = _unanswered(_ready())
    patience.looked(None, AFTER - 1)
    assert patience.stuck(AFTER)


def test_engine_is_asked_only_when_it_has_computed_nothing_for_a_while() -> None:
    """A busy one is never asked."""
    patience = _ready()
    assert not patience.doubtful(AFTER / 3 - 1)
    assert patience.doubtful(AFTER / 3)
    patience.looked(101.0, AFTER / 3)
    assert not patience.doubtful(AFTER / 3)


@given(st.lists(st.tuples(st.floats(0.1, AFTER / 2), st.integers(0, 3), st.booleans()), min_size=1, max_size=40))
def test_engine_that_computed_anything_within_the_time_is_never_stuck(
    looks: list[tuple[float, int, bool]],
) -> None:
    """Whatever it left unanswered, and however its counters move: a new process begins at nothing."""
    patience, now, last = _ready(), 0.0, 0.0
    computed = 100.0
    for seconds, unanswered, moved in looks:
        now += seconds
        patience.unanswered += unanswered
        if moved:
            computed, last = (0.0 if computed > 110 else computed + 1), now
        patience.looked(computed, now)
        assert not (patience.stuck(now) and now - last < AFTER)


@pytest.mark.parametrize(
    ("page", "tokens", "awake"),
    [
        ("", None, True),
        ('vllm:generation_tokens_total{engine="0"} 3.0\nvllm:generation_tokens_total{engine="1"} 4.0', 7.0, True),
        ("vllm:prompt_tokens_total 2.0\nvllm:iteration_tokens_total_count 5.0\nvllm:other_total 9.0", 7.0, True),
        ('vllm:engine_sleep_state{engine="0",sleep_state="awake"} 1.0', None, True),
        ('vllm:engine_sleep_state{sleep_state="awake"} 0.0\nvllm:engine_sleep_state{sleep_state="x"} 1.0', None, False),
    ],
)
def test_page_of_metrics_says_what_was_computed(page: str, tokens: float | None, awake: bool) -> None:
    """The sum over ranks; an engine that has no state of sleep is awake."""
    assert MODULE.counted(page) == (tokens, awake)


def test_engine_is_ended_so_often_and_no_more(tmp_path: Path) -> None:
    """Each is numbered; after six hours there is one again."""
    budget = MODULE.Budget(tmp_path / "stuck.json", 2)
    assert [budget.take(when) for when in (0.0, HOUR, 2 * HOUR, 6.5 * HOUR, 6.6 * HOUR)] == [1, 2, 0, 2, 0]


@pytest.mark.parametrize("left", ["", "no list", "{}", "[1, null]", json.dumps([5e9])])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, left: str) -> None:
    """A damaged file, or one of a boot before this one, does not keep an engine down."""
    (tmp_path / "stuck.json").write_text(left)
    assert MODULE.Budget(tmp_path / "stuck.json", 1).take(10.0) == 1


def test_engine_is_not_ended_where_that_cannot_be_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else nothing would bound how often."""
    assert MODULE.Budget(tmp_path / "no such folder" / "stuck.json", 3).take(0.0) == 0
    assert "No such file" in capsys.readouterr().err
