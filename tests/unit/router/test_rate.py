"""An engine's prefill rate, as its first bytes tell it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.rate import PrefillRate, alike


def one_by_one(rate: PrefillRate, tokens: int, seconds: float, times: int) -> None:
    """Prompts on an engine that had nothing to do before each of them."""
    for at in range(times):
        rate.works(100.0 * at)
        rate.done(tokens, 100.0 * at + seconds, idle=True)
    rate.refresh()


def test_the_calibrated_rate_holds_until_enough_was_seen() -> None:
    """Seven stretches are chance, eight are a rate."""
    rate = PrefillRate(1000.0)
    one_by_one(rate, 1500, 1.0, 7)
    assert rate.value == 1000.0
    one_by_one(rate, 1500, 1.0, 1)
    assert rate.value == 1500.0


@pytest.mark.parametrize(("seen", "value"), [(1_000_000, 2000.0), (300, 500.0), (700, 700.0)])
def test_the_tracked_rate_stays_within_a_factor_of_two(seen: int, value: float) -> None:
    """What the router sees is crude; what was measured with a known prompt bounds it."""
    rate = PrefillRate(8000.0)
    rate.calibrate(1000.0)
    one_by_one(rate, seen, 1.0, 10)
    assert rate.value == value


@pytest.mark.parametrize(("seen", "value"), [(1_000_000, 16_000.0), (300, 300.0), (12_000, 12_000.0)])
def test_a_rate_that_nobody_measured_gives_way_to_what_is_seen(seen: int, value: float) -> None:
    """A configured rate is a guess about hardware: being wrong by a factor of ten must not stay so."""
    rate = PrefillRate(1000.0)
    one_by_one(rate, seen, 1.0, 10)
    assert rate.value == value


def test_another_configured_rate_is_a_guess_again() -> None:
    """An operator's figure replaces a measurement, and is bounded as loosely as the first."""
    rate = PrefillRate(1000.0)
    rate.calibrate(1000.0)
    rate.configure(500.0)
    one_by_one(rate, 5000, 1.0, 10)
    assert rate.value == 5000.0


def test_small_prompts_say_nothing() -> None:
    """Below 256 tokens the way to the edge is longer than the computing."""
    rate = PrefillRate(1000.0)
    one_by_one(rate, 255, 1.0, 100)
    assert rate.value == 1000.0


def test_what_made_some_stretches_slow_does_not_make_the_rate_slow() -> None:
    """Decoding in between slows a prefill; the 90th percentile is what the engine can do."""
    rate = PrefillRate(1000.0)
    one_by_one(rate, 600, 1.0, 40)
    one_by_one(rate, 1200, 1.0, 10)
    assert rate.value == 1200.0


def test_only_the_latest_stretches_count() -> None:
    """An engine that got slower is slower 64 stretches later."""
    rate = PrefillRate(1000.0)
    one_by_one(rate, 1900, 1.0, 64)
    one_by_one(rate, 600, 1.0, 64)
    assert rate.value == 600.0


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(300, 5000)), min_size=150, max_size=300))
def test_a_queue_is_not_counted_twice(arrivals: list[tuple[float, int]]) -> None:
    """Prompts that arrive while others are computed tell the engine's rate, not a multiple of it."""
    true_rate, rate = 1000.0, PrefillRate(1000.0)
    events: list[tuple[float, bool, int]] = []
    now = free_at = 0.0
    for pause, tokens in arrivals:
        now += pause
        free_at = max(free_at, now) + tokens / true_rate
        events += [(now, False, tokens), (free_at, True, tokens)]
    queued = 0
    for at, first_byte, tokens in sorted(events):
        if first_byte:
            queued -= tokens
            rate.done(tokens, at, idle=not queued)
        else:
            if not queued:
                rate.works(at)
            queued += tokens
    rate.refresh()
    assert rate.value == pytest.approx(true_rate, rel=0.01)


def test_a_stretch_with_an_abort_in_it_says_nothing() -> None:
    """Somebody left: the engine worked for nobody, and nobody knows how long."""
    rate = PrefillRate(1000.0)
    for at in range(50):
        rate.works(10.0 * at)
        rate.void()
        rate.done(1900, 10.0 * at + 1.0, idle=True)
    assert not rate.refresh()


def test_after_a_stretch_that_says_nothing_the_next_begins_at_a_first_byte() -> None:
    """An engine that never rests is measured all the same."""
    rate = PrefillRate(1000.0)
    rate.works(0.0)
    rate.void()
    for at in range(1, 200):
        rate.done(800, float(at), idle=False)
    rate.refresh()
    assert rate.value == 800.0


@pytest.mark.parametrize("nonsense", [0.0, -5.0, float("nan"), float("inf")])
def test_a_measurement_that_cannot_be_is_ignored(nonsense: float) -> None:
    """A rate is divided by."""
    rate = PrefillRate(1000.0)
    rate.calibrate(nonsense)
    assert (rate.calibrated, rate.value) == (1000.0, 1000.0)


def test_a_new_calibration_moves_the_bounds() -> None:
    """What was tracked is kept as far as the new measurement allows."""
    rate = PrefillRate(1000.0)
    one_by_one(rate, 1900, 1.0, 10)
    rate.calibrate(500.0)
    assert rate.value == 1000.0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("works"), st.integers(0, 9000), st.floats(0, 10)),
            st.tuples(st.just("done"), st.integers(0, 9000), st.floats(0, 10)),
            st.tuples(st.just("void"), st.integers(0, 9000), st.floats(0, 10)),
        )
    )
)
def test_any_order_of_news_leaves_a_rate_within_bounds(news: list[tuple[str, int, float]]) -> None:
    """Events come late, twice or never, and clocks stand still between them."""
    rate, now = PrefillRate(1000.0), 0.0
    for what, tokens, pause in news:
        now += pause
        if what == "works":
            rate.works(now)
        elif what == "done":
            rate.done(tokens, now, idle=bool(tokens % 2))
        else:
            rate.void()
        rate.refresh()
        assert 500.0 <= rate.value <= 2000.0


@given(st.lists(st.floats(1.0, 1e6), max_size=20))
def test_rates_that_are_alike_are_one_rate(rates: list[float]) -> None:
    """Nobody's is moved by more than a fifth, the order stays, and what is left apart is apart by more than that."""
    found = alike(rates)
    assert len(found) == len(rates)
    assert all(1 / 1.2 - 1e-9 <= one / own <= 1.2 + 1e-9 for one, own in zip(found, rates, strict=True))
    by_own = [one for _, one in sorted(zip(rates, found, strict=True))]
    assert by_own == sorted(by_own)
    lowest = [min(own for own, common in zip(rates, found, strict=True) if common == one) for one in set(found)]
    assert all(high > low * 1.2 for low, high in pairwise(sorted(lowest)))
