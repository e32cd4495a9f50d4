"""The routing rule."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import NoEngine, Refused, Saturated
from router.parse import Ask
from router.pick import Belief, Binding, Choice, EngineView, Rule, Why, cost, pick, rendezvous, uncached

Held = dict[str, int] | None
RULE = Rule(gate_seconds=0.25, kv_weight=0.05)
NAMES = [f"engine-{letter}" for letter in "abcdefgh"]

keys = st.integers(0, 2**64 - 1)
views = st.builds(
    EngineView,
    name=st.just(""),
    uncached_in_flight=st.integers(0, 1_000_000),
    in_flight=st.integers(0, 500),
    prefill_tokens_per_second=st.floats(1.0, 1e6),
    kv_usage=st.floats(0.0, 1.0),
    available=st.booleans(),
    draining=st.booleans(),
    epoch=st.integers(0, 2),
    full=st.booleans(),
)
fleets = st.lists(views, min_size=1, max_size=8).map(
    lambda fleet: [replace(view, name=name) for name, view in zip(NAMES, fleet, strict=False)]
)
beliefs = st.lists(
    st.builds(Belief, st.sampled_from(NAMES), st.integers(0, 2), st.integers(0, 200_000)),
    max_size=4,
    unique_by=lambda belief: belief.engine,
).map(tuple)
bindings = st.none() | st.builds(Binding, st.sampled_from([*NAMES, "engine-gone"]), beliefs, st.booleans())
indexes = st.none() | st.dictionaries(st.sampled_from(NAMES), st.integers(0, 300_000))


def ask(key: int = 1, prompt_tokens: int = 1000) -> Ask:
    return Ask("r", "m", key, str(key), "user", "-", prompt_tokens, stream=False)


def idle(
    name: str,
    *,
    uncached_in_flight: int = 0,
    in_flight: int = 0,
    kv_usage: float = 0.0,
    available: bool = True,
    draining: bool = False,
    epoch: int = 0,
    full: bool = False,
) -> EngineView:
    return EngineView(name, uncached_in_flight, in_flight, 8000.0, kv_usage, available, draining, epoch, full)


def open_to_work(engines: Sequence[EngineView]) -> list[EngineView]:
    return [engine for engine in engines if engine.available and not engine.draining]


def price(engine: EngineView, wanted: Ask, binding: Binding | None, rule: Rule, held: Held) -> float:
    known = held or {}
    if held is None and binding is not None:
        known = {belief.engine: belief.tokens for belief in binding.beliefs if belief.epoch == engine.epoch}
    return cost(engine, uncached(wanted.prompt_tokens, known.get(engine.name, 0)), rule)


def test_pick_takes_the_cheapest_engine_for_a_new_session() -> None:
    """A first turn has no home: the engine that could answer first."""
    engines = [idle("a", uncached_in_flight=8000), idle("b"), idle("c", uncached_in_flight=10)]
    choice = pick(ask(), engines, None, RULE)
    assert choice == Choice("b", Why.NEW, 1000, 0.125, rebind=True)


def test_pick_gives_the_less_busy_of_two_engines_that_cost_the_same_to_the_hundredth_of_a_second() -> None:
    """Where prompts are short, who decodes more for others is slower, whoever of them computes fewer tokens now."""
    engines = [idle("a", in_flight=9), idle("b", uncached_in_flight=20, in_flight=2)]
    assert pick(ask(prompt_tokens=10), engines, None, RULE).engine == "b"


def test_pick_keeps_session_home_while_cost_is_within_gate() -> None:
    """Home while it costs at most the gate more than the cheapest: here 0.25 s are 2000 tokens."""
    binding = Binding("a", ())
    assert pick(ask(), [idle("a", uncached_in_flight=2000), idle("b")], binding, RULE).why is Why.HOME


def test_pick_spills_and_rebinds_when_home_costs_more_than_the_gate() -> None:
    """Past the gate the session moves, and stays moved."""
    choice = pick(ask(), [idle("a", uncached_in_flight=2001), idle("b")], Binding("a", ()), RULE)
    assert (choice.engine, choice.why, choice.rebind) == ("b", Why.SPILL, True)


def test_pick_keeps_session_home_where_another_costs_the_same_to_the_hundredth_of_a_second() -> None:
    """Without a gate, too: milliseconds are no reason to move, and who stays has not spilled."""
    home = Binding("a", ())
    for in_flight in (0, 5):
        engines = [idle("a", uncached_in_flight=30, in_flight=in_flight), idle("b", in_flight=3)]
        choice = pick(ask(), engines, home, Rule(gate_seconds=0.0))
        assert (choice.engine, choice.why, choice.rebind) == ("a", Why.HOME, False)
    far = [idle("a", uncached_in_flight=100), idle("b")]
    assert pick(ask(), far, home, Rule(gate_seconds=0.0)).why is Why.SPILL


def test_pick_weighs_a_cached_prompt_against_a_queue() -> None:
    """What home holds of the session is worth waiting for: 8000 cached tokens outweigh a queue of 9000."""
    home = idle("a", uncached_in_flight=9000)
    held = Binding("a", (Belief("a", 0, 8000),))
    assert pick(ask(prompt_tokens=8000), [home, idle("b")], held, RULE).why is Why.HOME
    assert pick(ask(prompt_tokens=8000), [home, idle("b")], Binding("a"), RULE).why is Why.SPILL


def test_pick_ignores_beliefs_about_an_earlier_life_of_the_cache() -> None:
    """A restarted engine holds nothing."""
    held = Binding("a", (Belief("a", 0, 8000),))
    assert pick(ask(prompt_tokens=8000), [idle("a", epoch=1)], held, RULE).uncached_tokens == 8000


def test_an_index_that_knows_better_overrides_the_last_turn() -> None:
    """A belief about the last turn counts only where no index has looked: what was evicted is not cached."""
    held = Binding("a", (Belief("a", 0, 8000),))
    engines = [idle("a"), idle("b")]
    assert pick(ask(prompt_tokens=8000), engines, held, RULE, {}).uncached_tokens == 8000
    assert pick(ask(prompt_tokens=8000), engines, held, RULE, {"b": 7000}) == Choice("b", Why.SPILL, 1000, 0.125, True)


def test_pick_sends_a_new_session_to_the_engine_that_holds_its_beginning() -> None:
    """A shared prompt is worth its prefill, until the queue there costs more: then it is copied."""
    asked, shared = ask(prompt_tokens=8000), {"a": 6000}
    assert pick(asked, [idle("a", uncached_in_flight=5999), idle("b")], None, RULE, shared).engine == "a"
    assert pick(asked, [idle("a", uncached_in_flight=6080), idle("b")], None, RULE, shared).engine == "b"


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    """An engine that holds the whole prompt still has one token to compute; an empty prompt has none."""
    assert [uncached(1000, held) for held in (0, 999, 1000, 5000)] == [1000, 1, 1, 1]
    assert uncached(0, 10) == 0


def test_pick_passes_over_an_engine_at_its_cap() -> None:
    """Full is not a candidate, home or not; the session moves."""
    engines = [idle("a", full=True), idle("b", uncached_in_flight=100_000)]
    assert pick(ask(), engines, Binding("a"), RULE).why is Why.SPILL
    assert pick(ask(), engines, None, RULE).engine == "b"


@pytest.mark.parametrize("other", [idle("b", full=True), idle("b", available=False), idle("b", draining=True)])
def test_pick_says_saturated_when_only_the_caps_are_in_the_way(other: EngineView) -> None:
    """Waiting helps against a cap, so it is told apart from having no engine."""
    with pytest.raises(Saturated):
        pick(ask(), [idle("a", full=True), other], None, RULE)


def test_what_continues_a_stored_response_goes_where_it_is_stored() -> None:
    """Whatever it costs; and it waits for that engine while it is full."""
    stored = Binding("a", (), strict=True)
    assert pick(ask(), [idle("a", uncached_in_flight=10**9), idle("b")], stored, RULE).why is Why.HOME
    with pytest.raises(Saturated):
        pick(ask(), [idle("a", full=True), idle("b")], stored, RULE)


@pytest.mark.parametrize(
    ("home", "why"), [(idle("a", available=False), Why.EJECT), (idle("a", draining=True), Why.DRAIN)]
)
def test_a_stored_response_whose_engine_is_away_is_asked_for_elsewhere(home: EngineView, why: Why) -> None:
    """An engine that has not stored it answers that; no engine at all says less."""
    choice = pick(ask(), [home, idle("b")], Binding("a", (), strict=True), RULE)
    assert (choice.engine, choice.why) == ("b", why)


def test_pick_avoids_a_full_cache() -> None:
    """KV pressure has a price that grows without jumping to infinity."""
    engines = [idle("a", kv_usage=1.0), idle("b", kv_usage=0.5)]
    choice = pick(ask(), engines, None, RULE)
    assert choice.engine == "b"
    assert cost(engines[0], 0, RULE) == pytest.approx(0.05 * 99)


@pytest.mark.parametrize(
    ("home", "why"),
    [
        (idle("a", draining=True), Why.DRAIN),
        (idle("a", available=False), Why.EJECT),
        (idle("a", available=False, draining=True), Why.DRAIN),
    ],
)
def test_pick_keeps_the_home_of_a_session_on_a_detour(home: EngineView, why: Why) -> None:
    """A home that is drained or ejected is only left for a while: the choice does not rebind."""
    assert pick(ask(), [home, idle("b")], Binding("a"), RULE) == Choice("b", why, 1000, 0.125, rebind=False)


def test_pick_forgets_a_home_that_is_no_longer_configured() -> None:
    """There is nothing to come home to: the session begins anew."""
    assert pick(ask(), [idle("b")], Binding("a"), RULE) == Choice("b", Why.NEW, 1000, 0.125, rebind=True)


def test_pick_prefers_fewer_requests_among_equals() -> None:
    """Ties: fewer in flight first."""
    assert pick(ask(), [idle("a", in_flight=2), idle("b", in_flight=1)], None, RULE).engine == "b"


@given(keys)
def test_pick_breaks_full_ties_in_rendezvous_order(key: int) -> None:
    """Among engines that are equal in everything, the session's own order decides, wherever they stand."""
    engines = [idle(name) for name in NAMES]
    first = rendezvous(key, NAMES)[0]
    assert pick(ask(key), engines, None, RULE).engine == first
    assert pick(ask(key), engines[::-1], None, RULE).engine == first


@pytest.mark.parametrize("engines", [[], [idle("a", available=False)], [idle("a", draining=True)]])
def test_pick_refuses_when_no_engine_may_be_given_work(engines: list[EngineView]) -> None:
    """No engine is an answer of its own, not a guess."""
    with pytest.raises(NoEngine):
        pick(ask(), engines, Binding("a"), RULE)


rules = st.builds(Rule, st.floats(0, 2), st.floats(0, 1))
asks = st.builds(ask, keys, st.integers(0, 200_000))


@given(fleets, bindings, asks, rules, indexes)
def test_pick_follows_the_rule(
    engines: list[EngineView], binding: Binding | None, wanted: Ask, rule: Rule, held: Held
) -> None:
    """Never what is away or full; home within the gate or as cheap to a hundredth of a second, else a cheapest; why."""
    reachable = {engine.name: engine for engine in open_to_work(engines)}
    home = binding.home if binding else None
    strict = binding is not None and binding.strict and home in reachable
    if all(engine.full for engine in reachable.values()) or (strict and reachable[home or ""].full):
        with pytest.raises(Saturated if reachable else NoEngine):
            pick(wanted, engines, binding, rule, held)
        return
    choice = pick(wanted, engines, binding, rule, held)
    prices = {name: price(one, wanted, binding, rule, held) for name, one in reachable.items() if not one.full}
    assert choice.cost_seconds == prices[choice.engine]
    least = min(prices.values(), default=0.0)
    near = home in prices and (prices[home] <= least + rule.gate_seconds or prices[home] * 100 // 1 == least * 100 // 1)
    if home in prices and (strict or near):
        assert (choice.engine, choice.why) == (home, Why.HOME)
    else:
        assert prices[choice.engine] * 100 // 1 == min(prices.values()) * 100 // 1
        assert choice.why is _reason(engines, home)
    assert choice.rebind is (choice.why in (Why.NEW, Why.SPILL))
    assert min(wanted.prompt_tokens, 1) <= choice.uncached_tokens <= wanted.prompt_tokens


@given(fleets.flatmap(lambda fleet: st.tuples(st.just(fleet), st.permutations(fleet))), bindings, asks, rules, indexes)
def test_the_order_in_which_engines_are_listed_does_not_matter(
    orders: tuple[list[EngineView], list[EngineView]], binding: Binding | None, wanted: Ask, rule: Rule, held: Held
) -> None:
    """Every decider that sees the same chooses the same."""
    engines, shuffled = orders
    try:
        choice = pick(wanted, engines, binding, rule, held)
    except Refused as refused:
        with pytest.raises(type(refused)):
            pick(wanted, shuffled, binding, rule, held)
        return
    assert pick(wanted, shuffled, binding, rule, held) == choice


def _reason(engines: list[EngineView], home: str | None) -> Why:
    found = {engine.name: engine for engine in engines}.get(home or "")
    if found is None:
        return Why.NEW
    if found.draining:
        return Why.DRAIN
    return Why.SPILL if found.available else Why.EJECT


@given(fleets, keys, st.integers(0, 200_000))
def test_pick_returns_a_session_to_the_same_engine_while_nothing_changes(
    engines: list[EngineView], key: int, tokens: int
) -> None:
    """Same session, same fleet → same engine, turn after turn."""
    engines = [replace(engine, available=True, draining=False, full=False) for engine in engines]
    first = pick(ask(key, tokens), engines, None, RULE)
    again = pick(ask(key, tokens), engines, Binding(first.engine), RULE)
    assert (again.engine, again.why) == (first.engine, Why.HOME)


@given(st.lists(keys, min_size=1, max_size=50, unique=True), st.integers(2, 8), st.data())
def test_removing_one_engine_moves_only_its_sessions(sessions: list[int], count: int, data: st.DataObject) -> None:
    """Every other session stays where it is; a removed engine's sessions begin anew elsewhere."""
    engines = [idle(name) for name in NAMES[:count]]
    homes = {key: pick(ask(key), engines, None, RULE).engine for key in sessions}
    gone = data.draw(st.sampled_from(NAMES[:count]))
    left = [engine for engine in engines if engine.name != gone]
    for key, home in homes.items():
        choice = pick(ask(key), left, Binding(home), RULE)
        assert choice.why is (Why.NEW if home == gone else Why.HOME)
        assert home in (choice.engine, gone)


@given(keys, st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=12, unique=True), st.data())
def test_rendezvous_order_survives_the_loss_of_a_name(key: int, names: list[str], data: st.DataObject) -> None:
    """Removing a name leaves the order of the others as it was, whatever order they were given in."""
    order = rendezvous(key, names)
    gone = data.draw(st.sampled_from(names))
    shuffled = data.draw(st.permutations([name for name in names if name != gone]))
    assert sorted(order) == sorted(names)
    assert rendezvous(key, shuffled) == [name for name in order if name != gone]


def test_rendezvous_spreads_sessions_evenly_and_moves_a_ninth_for_a_ninth_engine() -> None:
    """8 → 9 engines moves about 1/9 of the sessions, and no engine gets much more than its share."""
    sessions = [key * 0x9E3779B97F4A7C15 % 2**64 for key in range(9000)]
    before = [rendezvous(key, NAMES)[0] for key in sessions]
    after = [rendezvous(key, [*NAMES, "engine-i"])[0] for key in sessions]
    assert max(before.count(name) for name in NAMES) < 9000 / 8 * 1.1
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"engine-i"}
    assert 0.09 < len(moved) / 9000 < 0.13
