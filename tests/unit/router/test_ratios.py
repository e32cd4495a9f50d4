"""How many characters a token has, learnt from what engines count."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.fleet import Fleet, Outcome, Probe
from router.ratios import Counted, Ledger, Ratios
from tests.support.fleets import SETTINGS, ask, fleet_of


def test_enough_prompts_of_ours_alone_give_the_ratio() -> None:
    """3,000 estimated tokens were 3,600."""
    ledger = Ledger()
    assert ledger.compare(Counted(100.0, 10.0)) is None
    for _ in range(3):
        ledger.sent(1000)
    assert ledger.compare(Counted(3700.0, 13.0)) == pytest.approx(1.2)


def test_few_tokens_are_kept_until_they_are_enough() -> None:
    """A comparison over one small prompt is chance."""
    ledger = Ledger()
    ledger.compare(Counted(0.0, 0.0))
    ledger.sent(1500)
    assert ledger.compare(Counted(3000.0, 1.0)) is None
    ledger.sent(1500)
    assert ledger.compare(Counted(6000.0, 2.0)) == pytest.approx(2.0)


@pytest.mark.parametrize("first_tokens", [0.0, 4.0, 100.0])
def test_an_engine_that_serves_others_too_says_nothing(first_tokens: float) -> None:
    """Their tokens are in its count; that it was restarted looks alike."""
    ledger = Ledger()
    ledger.compare(Counted(0.0, 1.0))
    for _ in range(2):
        ledger.sent(2000)
    assert ledger.compare(Counted(9000.0, first_tokens)) is None
    ledger.sent(3000)
    assert ledger.compare(Counted(12000.0, first_tokens + 1)) == pytest.approx(1.0)


def test_a_comparison_moves_the_ratio_a_little() -> None:
    """From 4 characters a token towards 3.2."""
    ratios = Ratios(4.0)
    ratios.learn("m", 1.25)
    assert ratios.by_model == {"m": pytest.approx(3.84)}


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=100))
def test_the_ratio_stays_within_a_factor_of_two(seen: list[float]) -> None:
    """Whatever engines say."""
    ratios = Ratios(4.0)
    for real_per_estimated in seen:
        ratios.learn("m", real_per_estimated)
        assert 2.0 <= ratios.by_model["m"] <= 8.0


@given(st.floats(2.1, 7.9))
def test_the_ratio_converges_on_the_truth(truth: float) -> None:
    """Each estimate is made with the ratio learnt so far."""
    ratios = Ratios(4.0)
    for _ in range(60):
        ratios.learn("m", ratios.by_model.get("m", 4.0) / truth)
    assert ratios.by_model["m"] == pytest.approx(truth, rel=0.01)


def test_another_configured_figure_and_models_that_go_are_forgotten() -> None:
    """An operator's word starts the learning anew."""
    ratios = Ratios(4.0)
    for model in ("m", "gone"):
        ratios.learn(model, 1.25)
    ratios.configure(4.0, frozenset({"m"}))
    assert set(ratios.by_model) == {"m"}
    ratios.configure(3.0, frozenset({"m"}))
    assert ratios.by_model == {}


# --------------------------------------------------------------------------------------------------------- in the fleet


def counted(prompt_tokens: float, first_tokens: float) -> Probe:
    return Probe(ok=True, prompt_tokens=prompt_tokens, first_tokens=first_tokens)


def served(fleet: Fleet, name: str, tokens: int = 3000) -> None:
    fleet.decide(ask(name, key=hash(name) & 0xFFFF, prompt_tokens=tokens), 1.0)
    fleet.begun(name, "a", 1.0)
    fleet.finished(Outcome(name, "a", 200), 1.0)


def test_the_fleet_learns_from_what_its_engines_count() -> None:
    """An estimate of 3,000 tokens that were 3,750: fewer characters make a token. The dictionary stays the same one."""
    fleet = fleet_of(1)
    ratios = fleet.ratios
    fleet.probe("a", counted(0.0, 0.0), 0.0)
    served(fleet, "r1")
    fleet.probe("a", counted(3750.0, 1.0), 2.0)
    assert ratios == {"m": pytest.approx(3.84)}
    fleet.configure(replace(SETTINGS, engines=SETTINGS.engines[:1], characters_per_token=3.0))
    assert fleet.ratios is ratios
    assert ratios == {}


def test_a_prompt_that_is_being_computed_delays_the_comparison() -> None:
    """The engine may have counted it or not."""
    fleet = fleet_of(1)
    fleet.probe("a", counted(0.0, 0.0), 0.0)
    served(fleet, "r1")
    fleet.decide(ask("r2", key=2), 1.0)
    fleet.probe("a", counted(3750.0, 1.0), 2.0)
    assert fleet.ratios == {}
    fleet.begun("r2", "a", 3.0)
    fleet.probe("a", counted(4000.0, 2.0), 4.0)
    assert fleet.ratios == {"m": 4.0}


def test_a_calibration_prompt_is_nobodys() -> None:
    """The engine counts it, no client sent it."""
    fleet = fleet_of(1)
    fleet.probe("a", counted(0.0, 0.0), 0.0)
    served(fleet, "r1")
    fleet.calibrated("a", 5000.0)
    fleet.probe("a", counted(99_000.0, 1.0), 2.0)
    assert fleet.ratios == {}
