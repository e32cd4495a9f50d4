"""What is promised is checked before anything is touched."""

from __future__ import annotations

from typing import Any

import pytest

from observe.rules import watch
from tests.observe import promtool
from tests.unit.stackplan.stacks import problems_of


def _problems(**slo: Any) -> str:
    return "\n".join(problems_of(observe={"slo": slo}))


def test_defaults_are_fine() -> None:
    """Nobody has to promise anything."""
    assert not problems_of()


@pytest.mark.parametrize(("name", "value"), [("ttft_seconds", 3), ("itl_seconds", 0.12)])
def test_seconds_must_be_bounds_that_engines_measure_in(name: str, value: float) -> None:
    """The refusal lists them."""
    assert f"stack_observe.slo.{name}: {value} was found: allowed is one of 0" in _problems(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("latency_ratio", 0.5), ("availability_ratio", 1)])
def test_shares_must_leave_a_budget_that_can_burn(name: str, value: float) -> None:
    """Neither so little that no burn rate is reached, nor everything."""
    assert f"stack_observe.slo.{name}: {value} was found" in _problems(**{name: value})


def test_promises_name_models_that_are_there_once() -> None:
    """A model that is not served, and one that is named twice."""
    found = _problems(models=[{"name": "other"}, {"name": "qwen"}, {"name": "qwen"}])
    assert "stack_observe.slo.models[0].name: 'other' was found: allowed are names in stack_models" in found
    assert "stack_observe.slo.models[2].name: 'qwen' was found before" in found


def test_no_more_days_are_looked_back_than_are_kept() -> None:
    """A budget over days whose metrics are gone would be wrong."""
    found = problems_of(observe={"retention_days": 3, "slo": {"lookback_days": 30}})
    assert found == [
        "stack_observe.slo.lookback_days: 30 was found: allowed is up to retention_days (3); "
        "shorten it, or keep metrics longer"
    ]


def test_a_model_has_its_own_promises_where_it_names_them() -> None:
    """And everybody's where it does not."""
    slo = {"ttft_seconds": 1, "models": [{"name": "qwen", "itl_seconds": 0.05}]}
    [target] = watch(promtool.plan(slo=slo), promtool.BACKENDS).targets
    assert (target.ttft_seconds, target.itl_seconds, target.availability_ratio) == (1, 0.05, 0.995)
