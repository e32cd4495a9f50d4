from hypothesis import given
from hypothesis import strategies as st

from tests.engines.cache import Allocation, BlockCache


def fill(cache: BlockCache, chain: tuple[int, ...]) -> None:
    allocation = cache.admit(chain, len(chain))
    assert allocation is not None
    for block in chain[allocation.hits :]:
        cache.commit(allocation, block)
    cache.release(allocation)


def test_match_counts_only_the_unbroken_start_of_a_chain() -> None:
    """A block without its parents is worth nothing."""
    cache = BlockCache(8)
    fill(cache, (1, 2, 3))
    assert cache.match((1, 2, 9)) == 2
    assert cache.match((9, 2, 3)) == 0


def test_admit_evicts_the_least_recently_used_tail_first() -> None:
    """Room is made at the end of the sequence that was used longest ago."""
    cache = BlockCache(4)
    fill(cache, (1, 2))
    fill(cache, (11, 12))
    fill(cache, (21,))
    assert [cache.match(chain) for chain in ((1, 2), (11, 12), (21,))] == [1, 2, 1]


def test_admit_refuses_when_running_sequences_leave_no_room() -> None:
    """Blocks in use are never evicted."""
    cache = BlockCache(4)
    held = cache.admit((1, 2, 3), 3)
    assert held is not None
    assert cache.admit((4, 5), 2) is None
    cache.release(held)
    assert cache.admit((4, 5), 2) is not None


def test_blocks_are_hit_only_once_they_are_computed() -> None:
    """A prompt that is still being prefilled helps nobody yet."""
    cache = BlockCache(4)
    held = cache.admit((1, 2), 2)
    assert held is not None
    assert cache.match((1, 2)) == 0
    cache.commit(held, 1)
    assert cache.match((1, 2)) == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6), st.booleans()), max_size=60))
def test_cache_never_exceeds_its_capacity_and_ends_unused(moves: list[tuple[int, int, bool]]) -> None:
    """Whatever comes and goes, the cache is never larger than stated and holds nothing when nothing runs."""
    cache, running = BlockCache(10), list[Allocation]()
    for family, length, leave in moves:
        chain = tuple(family * 100 + place for place in range(length))
        allocation = cache.admit(chain, length)
        if allocation:
            running.append(allocation)
            for block in chain[allocation.hits : length - 1]:
                cache.commit(allocation, block)
        if leave and running:
            cache.release(running.pop(0))
        assert len(cache) <= 10
    for allocation in running:
        cache.release(allocation)
    assert cache.used == 0
