import pytest

from tests.engines import tokens
from tests.engines.cache import BlockCache
from tests.engines.scheduler import Scheduler, Sequence, Speed

BLOCK = 16


def scheduler(blocks: int = 1_000, **speed: float) -> Scheduler:
    chosen = {"prefill_rate": 1_000.0, "decode_seconds": 0.01, "decode_growth": 0.5, **speed}
    return Scheduler(BlockCache(blocks), BLOCK, Speed(**chosen, step_tokens=256))  # type: ignore[arg-type]  # floats


def sequence(text: str, answer: int = 2) -> Sequence:
    chain = tokens.block_hashes(text + "".join(tokens.answer(text, answer)), BLOCK)
    return Sequence(tokens.count(text), answer, chain, lambda: None)


def run(engine: Scheduler) -> float:
    """Step until nothing is left; returns the time that took."""
    now = 0.0
    while step := engine.plan(now):
        now += step.seconds
        engine.complete(step, now)
    return now


def test_prefill_takes_time_by_uncached_tokens() -> None:
    """A cached prompt costs only what is left of it."""
    engine, text = scheduler(), "x" * 4 * 160
    cold, warm = sequence(text, 1), sequence(text, 1)
    engine.add(cold)
    first = run(engine)
    engine.add(warm)
    second = run(engine)
    assert first == pytest.approx(0.160)
    assert warm.cached == 144
    assert second == pytest.approx(0.016)


def test_prefill_is_first_come_first_served() -> None:
    """A short prompt waits for the long one before it."""
    engine = scheduler()
    long, short = sequence("a" * 4 * 512, 1), sequence("b" * 4 * 16, 1)
    engine.add(long)
    engine.add(short)
    run(engine)
    assert long.first_token <= short.first_token


def test_decode_slows_down_with_the_batch() -> None:
    """Each further sequence makes every token of the batch slower."""
    alone, shared = scheduler(), scheduler()
    alone.add(sequence("a" * 64, 11))
    for name in "abc":
        shared.add(sequence(name * 64, 11))
    assert run(alone) == pytest.approx(0.016 + 10 * 0.01)
    assert run(shared) == pytest.approx(0.048 + 10 * 0.02)


def test_running_answers_go_on_while_a_long_prompt_is_prefilled() -> None:
    """Prefill comes in chunks: a stream is slowed by a long prompt, not stopped."""
    engine = scheduler()
    stream, long = sequence("a" * 64, 50), sequence("b" * 4 * 1_024, 1)
    engine.add(stream)
    engine.complete(engine.plan(0) or pytest.fail("nothing to do"), 0)
    engine.add(long)
    while not long.first_token:
        engine.complete(engine.plan(1) or pytest.fail("nothing to do"), 1)
    assert stream.emitted >= 4


def test_sequences_wait_until_the_cache_has_room() -> None:
    """A cache that is full of running sequences makes the next one wait, not fail."""
    engine = scheduler(blocks=3)
    first, second = sequence("a" * 4 * 32), sequence("b" * 4 * 32)
    engine.add(first)
    engine.add(second)
    engine.plan(0)
    assert (list(engine.waiting), engine.running) == ([second], [first])
    run(engine)
    assert second.finished


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_abort_frees_everything_at_any_stage(steps: int) -> None:
    """Whether it waits, prefills or decodes: an aborted sequence holds nothing and ends once."""
    engine = scheduler()
    one = sequence("a" * 4 * 512, 9)
    engine.add(one)
    for _ in range(steps):
        engine.complete(engine.plan(0) or pytest.fail("nothing to do"), 0)
    assert engine.abort(one)
    assert not engine.abort(one)
    assert (engine.cache.used, engine.running, list(engine.waiting)) == (0, [], [])


def test_an_answer_is_cached_for_the_next_turn() -> None:
    """The blocks of prompt and answer are hits for the turn that repeats them."""
    engine = scheduler()
    messages = [("user", "q" * 400)]
    prompt = tokens.conversation(messages)
    engine.add(sequence(prompt, 64))
    run(engine)
    said = "".join(tokens.answer(prompt, 64))
    follow = sequence(tokens.conversation([*messages, ("assistant", said), ("user", "more")]), 1)
    engine.add(follow)
    run(engine)
    assert follow.cached >= (tokens.count(prompt) + 64) // BLOCK * BLOCK - BLOCK
