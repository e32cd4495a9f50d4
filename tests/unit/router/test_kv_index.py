"""What engines say they hold corrects what they are believed to hold."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from router.kv_index import KvIndex, chain
from router.kv_wire import AllBlocksCleared, BlockRemoved, BlockStored, Hash

SIZE = 4
BLOCKS = (101, 102, 103)
ENDS = (8, 16, 24)
TOKENS = tuple(range(24))  # six engine blocks; two to a byte block


def stored(tokens: tuple[int, ...], salt: str = "a", since: int = 0, **more: Any) -> BlockStored:
    """The blocks of `tokens` from block `since` on, with hashes that `salt` makes another engine's."""
    names: list[Hash] = [f"{salt}{tokens[: end + SIZE]}".encode() for end in range(0, len(tokens) - SIZE + 1, SIZE)]
    parent = names[since - 1] if since else None
    return BlockStored(names[since:], parent, list(tokens[since * SIZE : len(names) * SIZE]), SIZE, **more)


def removed(tokens: tuple[int, ...], salt: str = "a", since: int = 0) -> BlockRemoved:
    return BlockRemoved(stored(tokens, salt, since).block_hashes)


def index(*engines: str, whole: bool = True) -> KvIndex:
    found = KvIndex()
    for engine in engines or ("a", "b"):
        found.follow(engine, "m")
        found.begin(engine, whole=whole)
    return found


def learnt(found: KvIndex, tokens: tuple[int, ...] = TOKENS, blocks: tuple[int, ...] = BLOCKS) -> KvIndex:
    found.learn("m", blocks, ENDS, prompt_tokens=24, tokens=tokens, size=SIZE)
    return found


def test_what_an_engine_holds_is_believed_although_another_one_was_asked() -> None:
    kv = learnt(index())
    kv.apply("b", [stored(TOKENS, "b")])
    assert kv.correct({}, BLOCKS, ENDS) == {"b": 24}


def test_hashes_of_two_engines_mean_the_same_blocks() -> None:
    kv = learnt(index())
    kv.apply("a", [stored(TOKENS, "a")])
    kv.apply("b", [stored(TOKENS, "b")])
    assert kv.correct({}, BLOCKS, ENDS) == {"a": 24, "b": 24}


def test_what_was_dropped_is_believed_no_more() -> None:
    kv = learnt(index())
    kv.apply("a", [stored(TOKENS), removed(TOKENS, since=3)])
    assert kv.correct({"a": 24, "b": 24}, BLOCKS, ENDS) == {"a": 8}


def test_what_goes_beyond_what_is_known_is_left_to_belief() -> None:
    kv = learnt(index())
    kv.apply("a", [stored(TOKENS)])
    assert kv.correct({"a": 32}, (*BLOCKS, 104), (*ENDS, 32)) == {"a": 32}
    kv.apply("a", [removed(TOKENS, since=5)])
    assert kv.correct({"a": 32}, (*BLOCKS, 104), (*ENDS, 32)) == {"a": 16}


def test_nothing_is_said_of_a_prompt_that_was_never_learnt_or_that_no_engine_ever_held() -> None:
    kv = index()
    kv.apply("a", [stored(TOKENS)])
    assert kv.correct({"b": 8}, BLOCKS, ENDS) == {"b": 8}
    learnt(kv, tokens=tuple(range(100, 124)))  # not what the engine computes: another template
    assert kv.correct({"b": 8}, BLOCKS, ENDS) == {"b": 8}


def test_a_prompt_learnt_after_it_was_stored_counts() -> None:
    kv = index()
    kv.apply("a", [stored(TOKENS)])
    assert learnt(kv).correct({}, BLOCKS, ENDS) == {"a": 24}


def test_an_engine_whose_story_is_not_whole_is_believed_to_hold_what_it_may_hold() -> None:
    kv = learnt(index("a", "b", whole=False))
    kv.apply("a", [stored(TOKENS)])
    assert kv.correct({"b": 16}, BLOCKS, ENDS) == {"a": 24, "b": 16}


def test_a_cache_full_of_news_makes_the_story_whole() -> None:
    kv = index("a", whole=False)
    kv.resize("a", 24)
    kv.apply("a", [stored(TOKENS[:20])])
    assert not kv.is_whole("a")
    kv.apply("a", [stored(tuple(range(50, 58)))])
    assert kv.is_whole("a")


def test_blocks_behind_unknown_ones_are_not_known() -> None:
    kv = index("a", whole=False)
    kv.apply("a", [stored(TOKENS, since=2)])
    assert (kv.blocks("a"), kv.orphans) == (0, 4)


def test_a_cleared_cache_holds_nothing_and_its_story_is_whole() -> None:
    kv = learnt(index("a", "b", whole=False))
    kv.apply("a", [stored(TOKENS)])
    kv.apply("a", [AllBlocksCleared()])
    assert (kv.blocks("a"), kv.is_whole("a")) == (0, True)


def test_salted_and_adapted_blocks_are_others() -> None:
    kv = learnt(index("a", "b", "c"))
    kv.apply("a", [stored(TOKENS)])
    kv.apply("b", [stored(TOKENS, "b", lora_name="tuned")])
    kv.apply("c", [stored(TOKENS, "c", extra_keys=[("salt",), None, None, None, None, None])])
    assert kv.correct({}, BLOCKS, ENDS) == {"a": 24}


def test_salted_chains_are_the_same_however_they_were_told() -> None:
    kv = index("a", "b")
    salts = [("salt",), *[None] * 5]
    kv.apply("a", [stored(TOKENS, "a", extra_keys=salts)])
    kv.apply("b", [stored(TOKENS[:8], "b", extra_keys=salts[:2]), stored(TOKENS, "b", since=2)])
    assert len(kv._holders) == 6


def test_a_block_is_held_until_it_is_gone_from_every_tier() -> None:
    kv = learnt(index("a"))
    kv.apply("a", [stored(TOKENS, medium="GPU"), stored(TOKENS, medium="CPU"), removed(TOKENS)])
    assert kv.correct({}, BLOCKS, ENDS) == {"a": 24}
    kv.apply("a", [BlockRemoved(stored(TOKENS).block_hashes, "CPU")])
    assert kv.correct({}, BLOCKS, ENDS) == {}


def test_another_group_of_layers_says_nothing() -> None:
    kv = learnt(index("a"))
    kv.apply("a", [stored(TOKENS), BlockRemoved(stored(TOKENS).block_hashes, group_idx=1)])
    assert kv.blocks("a") == 6


def test_of_engines_with_blocks_of_another_size_nothing_is_known_to_be_missing() -> None:
    kv = learnt(index())
    kv.apply("a", [stored(TOKENS)])
    kv.apply("b", [BlockStored([b"x"], None, list(TOKENS), 24)])
    assert kv.correct({"b": 24}, BLOCKS, ENDS) == {"a": 24, "b": 24}
    assert kv.block_size("m") == SIZE


def test_what_was_sent_to_an_engine_is_expected_there_for_a_while() -> None:
    kv = learnt(index())
    kv.apply("a", [stored(TOKENS)])
    kv.expect("b", BLOCKS, 0.0)
    assert kv.correct({"a": 24, "b": 24}, BLOCKS, ENDS) == {"a": 24, "b": 24}
    kv.expire(60.0)
    assert kv.correct({"a": 24, "b": 24}, BLOCKS, ENDS) == {"a": 24}


def test_a_second_prompt_with_the_same_beginning_shows_where_the_first_estimate_went_too_far() -> None:
    kv = index()
    first, second = TOKENS, (*TOKENS[:12], *range(50, 62))
    kv.apply("a", [stored(first)])
    learnt(kv, first, (101, 102, 103))  # 102 was thought to reach 16 tokens, but the two differ from the twelfth on
    learnt(kv, second, (101, 102, 203))
    assert kv.correct({}, (101, 102, 203), ENDS) == {"a": 16}
    assert kv._known[102].depth == 2


def test_an_engine_that_left_is_forgotten() -> None:
    kv = learnt(index())
    kv.apply("a", [stored(TOKENS)])
    kv.leave("a")
    assert (kv.correct({}, BLOCKS, ENDS), kv.blocks("a")) == ({}, 0)
    kv.follow("c", "m")  # takes the place of the one that left
    assert kv.correct({"c": 8}, BLOCKS, ENDS) == {"c": 8}


def test_what_is_learnt_is_bounded_and_beginnings_stay_longest() -> None:
    kv = KvIndex(capacity=2)
    kv.follow("a", "m")
    learnt(kv)
    assert (len(kv), 101 in kv._known, 103 in kv._known) == (2, True, False)
    assert sum(map(len, kv._unseen.values())) <= 2


PROMPTS = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(
    lambda words: tuple(token for word in words for token in (word, word, word, word))
)
EVENTS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["store", "remove", "clear"]), PROMPTS), max_size=30)


@given(EVENTS)
def test_after_any_events_holders_are_exactly_what_the_engines_hold(events: list[tuple[str, str, Any]]) -> None:
    kv = index()
    truth: dict[str, set[int]] = {"a": set(), "b": set()}
    for engine, what, tokens in events:
        if what == "store":
            kv.apply(engine, [stored(tokens, engine)])
            truth[engine].update(chain("m", tokens, SIZE))
        elif what == "remove":  # as an engine does: the end of a chain, never its beginning alone
            since = len(tokens) // SIZE - 1
            kv.apply(engine, [removed(tokens, engine, since)])
            truth[engine].discard(chain("m", tokens, SIZE)[-1])
        else:
            kv.apply(engine, [AllBlocksCleared()])
            truth[engine].clear()
    for engine, bit in (("a", 1), ("b", 2)):
        assert {key for key, bits in kv._holders.items() if bits & bit} == truth[engine]
        assert kv.blocks(engine) == len(truth[engine])


@given(EVENTS, PROMPTS, st.dictionaries(st.sampled_from("ab"), st.integers(1, 24)))
def test_no_correction_invents_an_engine_or_more_than_the_prompt(
    events: list[tuple[str, str, Any]], prompt: tuple[int, ...], believed: dict[str, int]
) -> None:
    kv = index()
    for engine, what, tokens in events:
        kv.apply(engine, [stored(tokens, engine) if what == "store" else removed(tokens, engine)])
    ends = tuple(range(SIZE, len(prompt) + 1, SIZE))
    blocks = tuple(hash(prompt[:end]) for end in ends)
    believed = {name: min(tokens, ends[-1]) for name, tokens in believed.items()}
    kv.learn("m", blocks, ends, prompt_tokens=len(prompt), tokens=prompt, size=SIZE)
    keys = chain("m", prompt, SIZE)
    found = kv.correct(dict(believed), blocks, ends)
    if any(key in kv._holders for key in keys):
        for name, bit in (("a", 1), ("b", 2)):
            deepest = max((at + 1 for at, key in enumerate(keys) if kv._holders.get(key, 0) & bit), default=0)
            assert found.get(name, 0) <= max(deepest * SIZE, believed.get(name, 0))
            if deepest == len(keys):
                assert found[name] == ends[-1]
    else:
        assert found == believed
