"""The arithmetic of the benchmarks."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.figures import digits, percentile, ratio, spread
from tests.bench.machine import cpu_seconds, rss_bytes, tree
from tests.bench.report import Report, Table, put_markdown

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@given(VALUES)
def test_spread_holds_every_value_between_its_ends(values: list[float]) -> None:
    """The median lies between the lowest and the highest, and both were measured."""
    found = spread(values)
    assert found.low <= found.median <= found.high
    assert {found.low, found.high} <= set(values)
    assert found.repeats == len(values)


def test_spread_of_nothing_is_refused() -> None:
    """No measurement has no median."""
    with pytest.raises(ValueError, match="at least one"):
        spread([])


@given(VALUES, st.floats(0.01, 1))
def test_percentile_is_the_nearest_rank(values: list[float], share: float) -> None:
    """At least that share of the values does not exceed it, and it is one of them."""
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_percentiles_of_a_hundred_values() -> None:
    """By hand: 1 to 100."""
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([], 0.5) == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.4, "1,234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123"), (0, "0")],
)
def test_digits_are_three(value: float, text: str) -> None:
    """As a person reads a figure."""
    assert digits(value) == text


def test_ratio_without_a_base_is_nothing() -> None:
    """Nothing divided by nothing is no gain."""
    assert (ratio(3, 4), ratio(3, 0)) == (0.75, 0)


def test_tree_has_this_process_and_its_time_and_memory() -> None:
    """What /proc says of ourselves; of a process that is not there: nothing."""
    assert os.getpid() in tree(os.getpid())
    assert cpu_seconds([os.getpid()]) > 0
    assert rss_bytes(os.getpid()) > 1_000_000
    assert cpu_seconds([2**22 + 1]) == rss_bytes(2**22 + 1) == 0


def _report(kind: str, cell: str) -> Report:
    return Report(kind, {"repeats": 3}, [], [Table("What", ["a", "b"], [["1", cell]], "Note.")])


def test_markdown_block_replaces_its_own_kind_only(tmp_path: Path) -> None:
    """A second run takes the place of the first; prose and other blocks stay."""
    path = tmp_path / "performance.md"
    path.write_text("# Figures\n\n<!-- bench:memory -->\nold\n<!-- /bench:memory -->\n\nThe end.\n")
    put_markdown(path, _report("memory", "new"))
    put_markdown(path, _report("overhead", "first"))
    put_markdown(path, _report("overhead", "second"))
    text = path.read_text()
    assert "old" not in text
    assert "first" not in text
    assert text.index("| 1 | new |") < text.index("The end.") < text.index("| 1 | second |")
    assert text.count("<!-- bench:overhead -->") == 1
