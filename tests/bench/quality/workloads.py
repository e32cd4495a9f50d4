"""The synthetic workloads, from a seed. Sizes are trimmed so that a run takes seconds; each says its own."""

import random
from collections.abc import Callable, Mapping, Sequence

from tests.bench.quality.traffic import Session, Traffic, Turn
from tests.engines.scheduler import Speed

BLOCK = 128
_CACHE = 400_000
_SPEED = Speed(prefill_rate=16_000.0, decode_seconds=0.02, decode_growth=0.02, step_tokens=2_048, batch=256)
_LONGEST = 32_000
_ROOM = 1 << 20  # block numbers of one owner


def agent(seed: int, scale: float) -> Traffic:
    """600 sessions in 150 s, about 12 turns each, think time after each answer, 4 shared system prompts of 2,048.

    Tool results and think times have heavy tails: log-normal, tokens around 300, seconds around 3.
    """
    draw = random.Random(f"agent {seed}")
    sessions = []
    for number in range(round(600 * scale)):
        turns, length = [], 2_048 + _tokens(draw, 1_000, 0.8, 8_000)
        for _ in range(min(1 + int(draw.expovariate(1 / 12)), 80)):
            answer = _tokens(draw, 80, 0.6, 400)
            turns.append(Turn(length, answer, draw.lognormvariate(1.1, 0.9)))
            length += answer + _tokens(draw, 300, 1.2, 8_000)
            if length > _LONGEST:
                break
        shared = draw.randrange(4)
        sessions.append(_session(number, draw.uniform(0, 150 * scale), turns, shared, 2_048))
    return _traffic("agent", sessions)


def shared_prompt(seed: int, scale: float) -> Traffic:
    """40 single turns a second for 120 s: 64 tenants (Zipf 1.0), each with its prompt of 6,144 tokens."""
    draw = random.Random(f"shared {seed}")
    weights = [1 / (rank + 1) for rank in range(64)]
    sessions, now = [], 0.0
    for number in range(round(4_800 * scale)):
        now += draw.expovariate(40)
        tenant = draw.choices(range(64), weights)[0]
        turn = Turn(6_144 + _tokens(draw, 900, 0.5, 4_000), _tokens(draw, 60, 0.5, 200))
        sessions.append(_session(number, now, [turn], tenant, 6_144))
    return _traffic("shared-prompt", sessions)


def multi_round(seed: int, scale: float) -> Traffic:
    """120 users in 60 s, each with 20,000 tokens of history behind a shared 1,024, 8 rounds about 10 s apart."""
    draw = random.Random(f"rounds {seed}")
    sessions = []
    for number in range(round(120 * scale)):
        turns, length = [], 1_024 + 20_000 + 100
        for _ in range(8):
            turns.append(Turn(length, 100, draw.uniform(5, 15)))
            length += 200
        sessions.append(_session(number, draw.uniform(0, 60 * scale), turns, 0, 1_024))
    return _traffic("multi-round", sessions)


def no_reuse(seed: int, scale: float) -> Traffic:
    """20 requests a second for 120 s, about 3,500 tokens each, nothing in common: a control."""
    draw = random.Random(f"no reuse {seed}")
    sessions, now = [], 0.0
    for number in range(round(2_400 * scale)):
        now += draw.expovariate(20)
        turn = Turn(_tokens(draw, 3_500, 0.7, _LONGEST), _tokens(draw, 60, 0.5, 200))
        sessions.append(_session(number, now, [turn], 0, 0))
    return _traffic("no-reuse", sessions)


def decode_bound(seed: int, scale: float) -> Traffic:
    """8 requests a second for 120 s, 256 tokens in and about 500 out: a control in which routing can win little."""
    draw = random.Random(f"decode {seed}")
    sessions, now = [], 0.0
    for number in range(round(960 * scale)):
        now += draw.expovariate(8)
        sessions.append(_session(number, now, [Turn(256, _tokens(draw, 500, 0.4, 1_500))], 0, 0))
    return _traffic("decode-bound", sessions)


WORKLOADS: Mapping[str, Callable[[int, float], Traffic]] = {
    "agent": agent,
    "multi-round": multi_round,
    "shared-prompt": shared_prompt,
    "no-reuse": no_reuse,
    "decode-bound": decode_bound,
}


def _traffic(name: str, sessions: Sequence[Session]) -> Traffic:
    return Traffic(name, sessions, BLOCK, _CACHE, _SPEED)


def _session(number: int, start: float, turns: Sequence[Turn], shared: int, shared_tokens: int) -> Session:
    """A session whose first `shared_tokens` are those of the owner `shared`, the rest its own."""
    common = shared_tokens // BLOCK
    whole = (turns[-1].prompt_tokens + turns[-1].answer_tokens) // BLOCK
    theirs = range(shared * _ROOM, shared * _ROOM + min(common, whole))
    own = (1_000 + number) * _ROOM
    return Session(f"session-{number}", start, turns, (*theirs, *range(own + common, own + max(whole, common))))


def _tokens(draw: random.Random, around: float, sigma: float, most: int) -> int:
    return min(max(round(around * draw.lognormvariate(0, sigma)), 1), most)
