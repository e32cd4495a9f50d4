"""What one decision costs: `python -m tests.bench.bench_decide [engines] [rounds]` prints microseconds per step."""

import json
import sys
import time
from collections.abc import Callable

from router.fleet import EngineSettings, Fleet, FleetSettings, Outcome, Probe
from router.parse import Ask, ParseSettings, Request, parse

_SESSIONS = 5_000


def _fleet(engines: int) -> Fleet:
    names = [f"engine-bench-{index}" for index in range(engines)]
    fleet = Fleet(FleetSettings(tuple(EngineSettings(name, "http://127.0.0.1:1", "bench") for name in names)), 0.0)
    for name in names:
        fleet.probe(name, Probe(ok=True, kv_usage=0.3), 0.0)
    return fleet


def _asks(rounds: int) -> list[Ask]:
    return [
        Ask(str(index), "bench", hash(str(index % _SESSIONS)) & (2**64 - 1), "1", "user", "-", 2_000, stream=True)
        for index in range(rounds)
    ]


def _request() -> Request:
    messages = [{"role": "system", "content": "Be kind. " * 50}, {"role": "user", "content": "Why? " * 50}]
    body = json.dumps({"model": "bench", "messages": messages, "stream": True}).encode()
    return Request("1", "POST", "/v1/chat/completions", "application/json", "", "", "-", len(body), body)


def _microseconds(step: Callable[[int], object], rounds: int) -> float:
    started = time.process_time()
    for index in range(rounds):
        step(index)
    return (time.process_time() - started) / rounds * 1e6


def main(engines: int = 8, rounds: int = 50_000) -> None:
    """Print the cost of parse, decide, begun and finished, in CPU time, so that a busy machine does not count."""
    fleet, asks, request = _fleet(engines), _asks(rounds), _request()
    settings = ParseSettings(("bench",), ("prompt_cache_key", "conversation", "metadata.user_id", "user"))
    chosen = [""] * rounds

    def decide(index: int) -> None:
        chosen[index] = fleet.decide(asks[index], 1.0).engine

    report = {
        "parse": _microseconds(lambda _: parse(request, settings), rounds),
        "decide": _microseconds(decide, rounds),
        "begun": _microseconds(lambda index: fleet.begun(asks[index].id, chosen[index], 1.0), rounds),
    }
    done = [Outcome(ask.id, server, 200, chosen=server) for ask, server in zip(asks, chosen, strict=True)]
    report["finished"] = _microseconds(lambda index: fleet.finished(done[index], 1.0), rounds)
    sys.stdout.write(f"{engines} engines, {rounds} requests, microseconds each\n")
    sys.stdout.writelines(f"{name:10}{cost:7.1f}\n" for name, cost in report.items())


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
