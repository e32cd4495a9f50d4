"""What the benchmark of a watched decision measures."""

from __future__ import annotations

from tests.bench.scraped.run import Wanted, run


def test_a_scrape_comes_between_decisions() -> None:
    """Decisions go on while a scrape is written, and the report compares them with those that nobody disturbed."""
    report = run(Wanted(engines=4, every_seconds=0.2, rate=1000, passes=1))
    [table] = report.tables
    assert [row[1] for row in table.rows[:2]] == ["200", "200"]
    assert int(table.rows[2][1]) > 1
    assert report.raw["scrape_octets"] > 1000
