"""Tenants: only their models, only their tokens, and a Retry-After that is true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import ModelNotAllowed, TokensSpent
from router.tenants import Tenants, TenantSettings

SETTINGS = (
    TenantSettings("small", frozenset({"tiny", "law"}), 600, "batch"),
    TenantSettings("free"),
)


def test_model_outside_the_list_is_refused() -> None:
    """403, with a code a program can read; an adapter may be allowed alone."""
    tenants = Tenants(SETTINGS)
    tenants.check("small", "tiny")
    tenants.check("small", "tiny", "any-adapter-of-it")
    tenants.check("small", "big", "law")
    for model, adapter in (("big", ""), ("big", "other")):
        with pytest.raises(ModelNotAllowed) as found:
            tenants.check("small", model, adapter)
        assert (found.value.status, found.value.code) == (403, "model_not_allowed")


def test_who_is_not_configured_may_do_everything() -> None:
    """Without tenants in the configuration nothing is limited."""
    tenants = Tenants(SETTINGS)
    for name in ("-", "", "stranger", "free"):
        tenants.check(name, "big")
        tenants.take(name, 10**9, 0.0)
        tenants.settle(name, 10**9, 0.0)
    assert (tenants.class_of("small"), tenants.class_of("free"), tenants.class_of("-")) == ("batch", "", "")
    assert tenants.left().keys() == {"small"}


@given(st.integers(1, 600), st.integers(1, 600))
def test_retry_after_is_enough_and_a_second_less_is_not(first: int, second: int) -> None:
    """Who comes back when told is served; who comes earlier is refused again."""
    tenants = Tenants(SETTINGS)
    tenants.take("small", first, 0.0)
    try:
        tenants.take("small", second, 0.0)
    except TokensSpent as spent:
        after = spent.retry_after
        assert after is not None
        assert after >= 1
        if after > 1:
            with pytest.raises(TokensSpent):
                tenants.take("small", second, after - 1.0)
        tenants.take("small", second, float(after))
    else:
        assert first + second <= 600


def test_prompt_longer_than_a_minutes_worth_passes_a_full_bucket() -> None:
    """Else it could never pass; its debt is paid by waiting."""
    tenants = Tenants(SETTINGS)
    tenants.take("small", 6000, 0.0)
    with pytest.raises(TokensSpent) as spent:
        tenants.take("small", 1, 1.0)
    assert spent.value.retry_after == 540


def test_answer_is_paid_when_it_is_over_and_what_was_paid_too_much_comes_back() -> None:
    """Settling may leave a debt, and never leaves more than a minute's worth."""
    tenants = Tenants(SETTINGS)
    tenants.settle("small", 1000, 0.0)
    assert tenants.left()["small"] == -400
    tenants.settle("small", -5000, 0.0)
    assert tenants.left()["small"] == 600


def test_reload_keeps_the_share_that_is_left() -> None:
    """A new limit neither forgives nor takes; a tenant that is gone leaves nothing behind."""
    tenants = Tenants(SETTINGS)
    tenants.take("small", 300, 0.0)
    tenants.configure([TenantSettings("small", tokens_per_minute=6000)], 0.0)
    assert tenants.left() == {"small": 3000}
    tenants.configure([], 0.0)
    assert tenants.left() == {}


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 2000)), max_size=60))
def test_prompts_of_any_minute_stay_within_the_limit(events: list[tuple[float, int]]) -> None:
    """What passes in any stretch of time is at most a minute's worth, plus its share of the time, plus one prompt."""
    tenants, now, passed = Tenants(SETTINGS), 0.0, list[tuple[float, int]]()
    for seconds, tokens in events:
        now += seconds
        try:
            tenants.take("small", tokens, now)
        except TokensSpent:
            continue
        passed.append((now, tokens))
    for at, (since, _) in enumerate(passed):
        total = 0
        for when, tokens in passed[at:]:
            assert total <= 600 + (when - since) * 10 + 1
            total += tokens
