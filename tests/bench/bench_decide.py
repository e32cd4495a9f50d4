"""What one decision costs, step by step: `python -m tests.bench.bench_decide [--engines 8] [--json FILE]`.

Microseconds of this machine, the best of many short runs, so that what else runs here counts little; the last lines
are a distribution of processor time: whole decisions on 50 KB prompts among 64 engines, parse to lease.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from router.fleet import EngineSettings, Fleet, FleetSettings, Outcome, Probe
from router.parse import Ask, ParseSettings, Request, parse
from router.pick import Belief, Binding, EngineView, Rule, pick
from router.prefix import PrefixIndex

CHAT = "/v1/chat/completions"
WORDS = 'The quick brown fox said "jumps over"\n'
FIELDS = ("prompt_cache_key", "conversation", "metadata.user_id", "user")
SETTINGS = ParseSettings(("bench",), FIELDS)
CACHE_TOKENS = 500_000
SESSIONS = 2000
REPEATS = 4  # of a step in one run


def microseconds(step: Callable[[], object], runs: int) -> float:
    """The fastest of `runs` runs."""
    best = float("inf")
    for _ in range(runs):
        started = time.perf_counter()
        for _ in range(REPEATS):
            step()
        best = min(best, time.perf_counter() - started)
    return round(best / REPEATS * 1e6, 2)


def request(octets: int, *, session: str = "", name: str = "r", turn: int = 2000) -> Request:
    text = (WORDS * (turn // len(WORDS) + 1))[:turn]
    turns: list[dict[str, Any]] = [{"role": "system", "content": "Be kind."}]
    turns += [{"role": "user", "content": f"{number} {text}"} for number in range(max(1, octets // (turn + 100)))]
    data = json.dumps({"messages": turns, "model": "bench", "stream": True}).encode()
    return Request(
        name, "POST", CHAT, "application/json", session, "x-session-id" * bool(session), "-", len(data), data
    )


def fleet(engines: int) -> Fleet:
    names = [f"engine-bench-{number}" for number in range(engines)]
    owner = Fleet(FleetSettings(tuple(EngineSettings(name, "http://127.0.0.1:1", "bench") for name in names)), 0.0)
    for name in names:
        owner.probe(name, Probe(ok=True, kv_usage=0.3), 0.0)
    return owner


def parsing(runs: int) -> dict[str, float]:
    costs = {}
    for octets in (1_000, 10_000, 50_000, 100_000):
        turn = min(octets, 2000) - 100
        for session in ("s-1", ""):
            asked = request(octets, session=session, turn=turn)
            named = "named" if session else "by its beginning"
            costs[f"parse {octets // 1000} KB, {named}"] = microseconds(partial(parse, asked, SETTINGS), runs)
    return costs


def picking(runs: int) -> dict[str, float]:
    costs = {}
    for engines in (8, 64):
        views = [EngineView(f"engine-{at}", 100 * at, at, 8000.0, 0.3) for at in range(engines)]
        wanted = replace(parse(request(8_000, session="s"), SETTINGS), prompt_tokens=2000)
        home = Binding("engine-3", (Belief("engine-3", 0, 1500),))
        held = {"engine-3": 1500, "engine-5": 300}
        costs[f"pick among {engines}"] = microseconds(partial(pick, wanted, views, home, Rule(), held), runs)
    return costs


def indexing(runs: int) -> dict[str, float]:
    index, number = PrefixIndex(), count()
    for engine in range(64):
        index.resize(f"engine-{engine}", CACHE_TOKENS)

    def chain(seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        blocks = tuple(hash((seed, at)) & (2**64 - 1) for at in range(50))
        return blocks, tuple(range(500, 25_001, 500))

    def new() -> None:
        seed = next(number)
        index.insert(f"engine-{seed % 64}", *chain(seed))

    for _ in range(SESSIONS):
        new()
    known = chain(SESSIONS - 1)
    for engine in range(0, 64, 8):
        index.insert(f"engine-{engine}", known[0][: engine + 1], known[1][: engine + 1])
    return {
        "index: match 50 blocks, 64 engines": microseconds(lambda: index.match(*known), runs),
        "index: the same prompt again": microseconds(lambda: index.insert("engine-7", *known), runs),
        "index: 50 new blocks": microseconds(new, runs),
    }


def deciding(engines: int, runs: int) -> dict[str, float]:
    """Decide, begun and finished for sessions that come back."""
    owner, number = fleet(engines), count()
    asks = [parse(request(8_000, session=f"s-{at}", turn=1900), SETTINGS) for at in range(200)]
    sent: list[tuple[str, str]] = []

    def decide() -> None:
        at = next(number)
        ask: Ask = replace(asks[at % len(asks)], id=str(at))
        sent.append((ask.id, owner.decide(ask, 1.0).engine))

    costs = {"decide": microseconds(decide, runs)}
    started, ended = iter(list(sent)), iter([Outcome(name, engine, 200, chosen=engine) for name, engine in sent])
    costs["begun"] = microseconds(lambda: owner.begun(*next(started), 1.0), runs)
    costs["finished"] = microseconds(lambda: owner.finished(next(ended), 1.0), runs)
    return {f"{name}, {engines} engines": cost for name, cost in costs.items()}


def distribution(rounds: int) -> dict[str, float]:
    """Whole decisions, 50 KB prompts and 64 engines: everything between the question and the answer's values."""
    owner, times = fleet(64), []
    asked = [request(50_000, session=f"s-{at}") for at in range(64)]
    for at in range(rounds):
        one = replace(asked[at % len(asked)], id=str(at))
        started = time.thread_time()
        owner.decide(parse(one, SETTINGS), 1.0)
        times.append((time.thread_time() - started) * 1e6)
        owner.begun(one.id, "engine-bench-0", 1.0)
        owner.finished(Outcome(one.id, "engine-bench-0", 200), 1.0)
    cuts = statistics.quantiles(times, n=100)
    return {
        "50 KB, 64 engines: p50": round(cuts[49], 1),
        "50 KB, 64 engines: p99": round(cuts[98], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", type=int, default=8)
    parser.add_argument("--runs", type=int, default=2000, help="of each step; more find a quiet moment more surely")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    costs = parsing(asked.runs // 2) | indexing(asked.runs) | picking(asked.runs)
    costs |= deciding(asked.engines, asked.runs) | distribution(asked.runs)
    if asked.json:
        asked.json.write_text(json.dumps(costs, indent=1) + "\n")
    sys.stdout.writelines(f"{name:40}{cost:9.2f} µs\n" for name, cost in costs.items())


if __name__ == "__main__":
    main()
