"""The retry budget: a few retries always, then only so many per request, and again when it is calm."""

from hypothesis import given
from hypothesis import strategies as st

from router.retries import RetryBudget
from router.window import Window


def test_few_retries_are_always_granted() -> None:
    """One engine's death on a quiet stack spends no budget."""
    budget = RetryBudget(0.1)
    for _ in range(10):
        budget.completed(1, 1.0)
    assert budget.granted(1.0)
    assert budget.refused == 0


def test_storm_ends_retries_until_it_is_over() -> None:
    """More retries than the ratio allows: none for who comes now; ten seconds later all is as before."""
    budget = RetryBudget(0.2)
    for _ in range(100):
        budget.completed(0, 1.0)
    for _ in range(25):
        budget.completed(1, 1.5)
    assert budget.granted(1.5)  # 25 of 125 is the ratio
    budget.completed(3, 1.6)
    assert not budget.granted(1.6)
    assert budget.refused == 1
    assert budget.granted(12.0)


def test_tries_are_taken_from_the_budget_as_they_are_made() -> None:
    """Whoever tries again itself asks first: each try counts at once, and none is made beyond the budget."""
    budget = RetryBudget(0.2)
    made = sum(budget.take(1.0) for _ in range(100))
    assert (made, budget.spent(1.0), budget.refused) == (11, True, 89)
    assert budget.take(12.0)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 9)), min_size=1, max_size=80), st.floats(0, 15))
def test_window_counts_the_last_seconds_to_a_tenth(events: list[tuple[float, int]], rest: float) -> None:
    """Everything of nine tenths of the window is counted, nothing older than the window."""
    window, now, seen = Window(10.0), 1000.0, list[tuple[float, int]]()
    for pause, amount in events:
        now += pause
        window.add(now, amount)
        seen.append((now, amount))
    now += rest
    total = window.total(now)
    assert sum(amount for at, amount in seen if at > now - 9.0) <= total
    assert total <= sum(amount for at, amount in seen if at > now - 10.0)
