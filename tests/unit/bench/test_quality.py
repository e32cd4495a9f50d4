"""The simulation: what it counts, what it repeats, and that its controls behave as controls."""

from collections import Counter

import pytest

from router.pick import rendezvous
from tests.bench.quality.ironrack import Deciders, coarse
from tests.bench.quality.jobs import OURS, Job, play
from tests.bench.quality.measure import imbalance, moved
from tests.bench.quality.oracle import hit_ratios
from tests.bench.quality.rules import RULES
from tests.bench.quality.trace import named
from tests.bench.quality.traffic import Session, Turn
from tests.bench.quality.workloads import BLOCK, WORKLOADS
from tests.bench.quality.world import Request

SMALL = 0.05


def _request(
    session: str, engine: str = "", arrived: float = 0.0, blocks: tuple[int, ...] = (), tokens: int = 1
) -> Request:
    talk = Session(session, 0.0, (Turn(tokens, 1),), blocks)
    return Request("1", talk, 0, tokens, 1, blocks, arrived, engine)


def test_oracle_by_hand() -> None:
    """Two sessions share one block of three; the last prompt token is always computed."""
    first = _request("a", blocks=(1, 2, 3), tokens=31)
    other = _request("b", blocks=(1, 7, 8), tokens=31)
    again = _request("a", blocks=(1, 2, 3, 4), tokens=31)
    anybody, own = hit_ratios([first, other, again], 10)
    assert anybody == pytest.approx((0 + 10 + 30) / 93)
    assert own == pytest.approx((0 + 0 + 30) / 93)


def test_moved_counts_sessions_seen_on_both_sides_only() -> None:
    """Of two that were there before and after, one moved; a third came later, a fourth did not return."""
    turns = [
        _request("stays", "x", 1.0),
        _request("moves", "x", 2.0),
        _request("gone", "x", 3.0),
        _request("stays", "x", 11.0),
        _request("moves", "y", 12.0),
        _request("moves", "x", 13.0),
        _request("new", "y", 14.0),
    ]
    assert moved(turns, 10.0, 60.0) == 0.5


def test_imbalance_is_one_where_all_compute_alike() -> None:
    """Max divided by mean, idle engines counted."""
    assert imbalance([_request("a", "x"), _request("b", "y")], 2) == 1
    assert imbalance([_request("a", "x"), _request("b", "x")], 2) == 2


def test_trace_requests_belong_to_whom_they_continue() -> None:
    """The deepest block that was seen says whose turn it is; the first block alone says nothing."""
    ids = [[0, 1, 2], [0, 5, 6], [0, 1, 2, 3], [0, 9], [0, 5, 7]]
    names = named([{"hash_ids": one} for one in ids])
    assert names == ["session-0", "session-1", "session-0", "session-3", "session-1"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads_are_the_same_for_the_same_seed(name: str) -> None:
    """Seeds are pinned, prompts grow, and every turn's blocks begin with those of the turn before."""
    once, again, other = (WORKLOADS[name](seed, SMALL) for seed in (1, 1, 2))
    assert once == again
    assert once != other
    for session in once.sessions:
        sizes = [turn.prompt_tokens for turn in session.turns]
        assert sizes == sorted(sizes)
        assert len(session.blocks) == len(set(session.blocks))
        assert len(session.blocks) >= sizes[-1] // BLOCK


@pytest.mark.parametrize("rule", [OURS, *RULES])
def test_runs_can_be_repeated_and_beat_no_oracle(rule: str) -> None:
    """The same job gives the same figures, every request ends, and no cache knows what nobody said before."""
    job = Job("multi-round", rule, seed=0, scale=SMALL)
    once, again = play(job), play(job)
    assert once == again
    assert once.quality.requests == 48
    assert 0 < once.quality.of_oracle <= 1.001
    assert once.quality.ttft[0] <= once.quality.ttft[1] <= once.quality.ttft[2]


def test_nothing_is_reused_where_nothing_is_shared() -> None:
    """The control has no hits, whatever the rule."""
    assert play(Job("no-reuse", OURS, seed=0, scale=SMALL)).quality.hit == 0


@pytest.mark.parametrize("split", ["hash", "random"])
def test_several_deciders_serve_everything(split: str) -> None:
    """Four fleets over the same engines: nothing is lost between them."""
    deciders = Deciders(4, "hash" if split == "hash" else "random")
    assert play(Job("agent", OURS, seed=0, scale=SMALL, deciders=deciders)).quality.requests > 100


def test_coarse_blocks_are_boundaries_of_the_fine_ones() -> None:
    """Short at first, long later; what is left over has no block."""
    blocks = tuple(range(100))
    found, ends = coarse(blocks, 128)
    assert ends[:6] == (128, 256, 384, 512, 768, 1_024)
    assert found == tuple(end // 128 - 1 for end in ends)
    assert ends[-1] <= 100 * 128
    assert coarse((1,), 512) == ((1,), (512,))
    assert coarse((), 128) == ((), ())


def test_hash_moves_its_share_when_an_engine_comes() -> None:
    """Rendezvous order: of 8 to 9 engines about one in nine moves, all to the new one."""
    names = [f"engine-{number}" for number in range(9)]
    before = [rendezvous(key, names[:8])[0] for key in range(4_000)]
    after = [rendezvous(key, names)[0] for key in range(4_000)]
    went = Counter(new for old, new in zip(before, after, strict=True) if old != new)
    assert set(went) == {names[8]}
    assert went.total() / 4_000 == pytest.approx(1 / 9, abs=0.02)
