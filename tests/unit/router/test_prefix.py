"""What engines' caches are believed to hold."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.prefix import PrefixIndex

ENGINES = ("a", "b", "c")
CAPACITY = 100

# A chain's blocks are named by everything before them, as chained hashes are: equal blocks have equal beginnings.
branches = st.lists(st.integers(0, 2), max_size=8)
sizes = (3, 5, 8, 13, 21, 34, 5, 3)


def chain(branch: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    blocks, ends, name, end = [], [], 7, 0
    for step, size in zip(branch, sizes, strict=False):
        name, end = name * 4 + step, end + size
        blocks.append(name)
        ends.append(end)
    return tuple(blocks), tuple(ends)


def index(capacity: int = CAPACITY) -> PrefixIndex:
    made = PrefixIndex()
    for engine in ENGINES:
        made.resize(engine, capacity)
    return made


def test_an_engine_holds_the_beginning_that_two_prompts_share() -> None:
    """The match ends where the prompts part."""
    known = index()
    known.insert("a", *chain([0, 1, 2, 0]))
    assert known.match(*chain([0, 1, 0])) == {"a": 8}
    assert known.match(*chain([1])) == {}


def test_each_engine_is_credited_with_what_it_holds_itself() -> None:
    """Engines drop out one by one along the chain."""
    known = index()
    known.insert("a", *chain([0]))
    known.insert("b", *chain([0, 1, 2]))
    assert known.match(*chain([0, 1, 2, 2])) == {"a": 3, "b": 16}


def test_an_engine_of_unknown_size_holds_nothing() -> None:
    """Without a bound there is no belief."""
    known = PrefixIndex()
    known.insert("a", *chain([0, 1]))
    assert (len(known), known.tokens("a"), known.match(*chain([0, 1]))) == (0, 0, {})


def test_the_oldest_prompt_leaves_first_and_its_end_before_its_beginning() -> None:
    """As an engine frees its blocks: least recently used first, a chain from its end."""
    known = index(capacity=24)
    known.insert("a", *chain([0, 1, 2]))
    known.insert("a", *chain([1, 1]))
    assert known.match(*chain([0, 1, 2])) == {"a": 16}
    known.insert("a", *chain([2]))
    assert known.match(*chain([0, 1, 2])) == {"a": 8}
    assert known.match(*chain([1, 1])) == {"a": 8}
    assert known.evicted == 1


def test_using_a_prompt_again_keeps_it() -> None:
    """A refresh costs no room and makes it the youngest."""
    known = index(capacity=16)
    known.insert("a", *chain([0, 1]))
    known.insert("a", *chain([1, 1]))
    known.insert("a", *chain([0, 1]))
    known.insert("a", *chain([2, 1]))
    assert known.match(*chain([0, 1])) == {"a": 8}
    assert known.match(*chain([1, 1])) == {}


def test_a_smaller_cache_forgets_at_once_and_a_removed_engine_leaves_nothing() -> None:
    """The bound holds from the moment it is known; an engine without a cache takes no memory."""
    known = index()
    known.insert("a", *chain([0, 1, 2, 0]))
    known.resize("a", 8)
    assert known.tokens("a") == 8
    known.resize("a", 0)
    assert len(known) == 0
    known.insert("a", *chain([0]))
    assert len(known) == 0


def test_a_new_engine_inherits_nothing_from_one_that_left() -> None:
    """Bits are used again; beliefs are not."""
    known = index()
    known.insert("b", *chain([0, 1]))
    known.resize("b", 0)
    known.resize("d", CAPACITY)
    assert known.match(*chain([0, 1])) == {}
    known.insert("d", *chain([0]))
    assert known.match(*chain([0, 1])) == {"d": 3}


def test_memory_stays_bounded_over_many_prompts() -> None:
    """A stream of prompts that never come again leaves no more than the caches' size behind."""
    known = index(capacity=1000)
    for number in range(5000):
        known.insert(ENGINES[number % 3], (number * 3, number * 3 + 1, number * 3 + 2), (10, 20, 30))
    assert len(known) <= 3 * 100
    assert all(known.tokens(engine) <= 1000 for engine in ENGINES)


@given(st.lists(st.tuples(st.sampled_from(ENGINES), branches), max_size=20), branches)
def test_a_match_is_a_beginning_that_was_inserted(inserted: list[tuple[str, list[int]]], asked: list[int]) -> None:
    """Never more than the longest common beginning with what the engine was sent; exactly that while it fits."""
    known, roomy = index(), index(capacity=10**9)
    for engine, branch in inserted:
        known.insert(engine, *chain(branch))
        roomy.insert(engine, *chain(branch))
    longest = {engine: max([_common(b, asked) for e, b in inserted if e == engine], default=0) for engine in ENGINES}
    assert roomy.match(*chain(asked)) == {engine: tokens for engine, tokens in longest.items() if tokens}
    for engine, tokens in known.match(*chain(asked)).items():
        assert 0 < tokens <= longest[engine]
        assert tokens in chain(asked)[1]


def _common(one: list[int], other: list[int]) -> int:
    shared = 0
    for mine, theirs, size in zip(one, other, sizes, strict=False):
        if mine != theirs:
            break
        shared += size
    return shared


class Caches(RuleBasedStateMachine):
    """Whatever happens in whatever order, the bounds hold and nothing is left behind."""

    def __init__(self) -> None:
        super().__init__()
        self.known = index()
        self.capacity = dict.fromkeys(ENGINES, CAPACITY)

    @rule(engine=st.sampled_from(ENGINES), branch=branches)
    def insert(self, engine: str, branch: list[int]) -> None:
        self.known.insert(engine, *chain(branch))

    @rule(engine=st.sampled_from(ENGINES), capacity=st.integers(0, 2 * CAPACITY))
    def resize(self, engine: str, capacity: int) -> None:
        self.known.resize(engine, capacity)
        self.capacity[engine] = capacity

    @rule(engine=st.sampled_from(ENGINES), branch=branches)
    def drop(self, engine: str, branch: list[int]) -> None:
        self.known.drop(engine)
        assert self.known.tokens(engine) == 0
        assert engine not in self.known.match(*chain(branch))

    @invariant()
    def no_engine_holds_more_than_it_has_room_for(self) -> None:
        assert all(self.known.tokens(engine) <= self.capacity[engine] for engine in ENGINES)

    @invariant()
    def an_index_of_nothing_is_empty(self) -> None:
        if not any(self.known.tokens(engine) for engine in ENGINES):
            assert len(self.known) == 0


TestCaches = Caches.TestCase
