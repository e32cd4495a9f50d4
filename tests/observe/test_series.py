"""The list of series is true: labels are those it says, and rules record nothing that it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from observe.rules.parts import Record
from observe.series import ALL, Series
from tests.observe import promtool
from tests.observe.healthy import HEALTHY
from tests.observe.test_adapter import RECORDS
from tests.observe.test_alerts import needs_promtool


def _other_labels(series: Series) -> dict[str, Any]:
    """Asks for samples with a label the list does not name, or without one it does."""
    only = f"sum by ({', '.join(series.labels)}) ({series.name})"
    lacking = " or ".join(f'{series.name}{{{label}=""}}' for label in series.labels)
    more = f"count({series.name} unless {only})"
    return promtool.at(20, f"{more} or count({lacking})" if lacking else more, {})


@needs_promtool
def test_series_have_the_labels_that_the_list_says(tmp_path: Path) -> None:
    """Nothing more, such as an exporter's own labels, and nothing less."""
    asked = [_other_labels(series) for series in ALL]
    assert not promtool.complaints(promtool.write_rules(tmp_path), HEALTHY, asked)


def test_a_rule_cannot_record_what_is_not_on_the_list() -> None:
    """The mistake is found when the rule is made."""
    with pytest.raises(KeyError, match=r"series\.py; add it there"):
        Record("engine_mood_ratio", "vector(1)")


def test_shares_are_never_added() -> None:
    """Of a ratio the mean or an extreme is taken: no recorded name says `ratio:sum`, and no rule sums one."""

    summed = [rule.name for rule in RECORDS if "sum" in rule.expr and "_ratio" in rule.expr.split("sum", 1)[1][:60]]
    assert not summed
