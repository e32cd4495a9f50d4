"""What one decision costs, in process: SPOP octets in → ACK octets out, and one completion line.

    python -m tests.bench.bench_spop [--rounds 20000]

Prints one JSON object, times in microseconds of this machine's CPU: the best of nine passes, so that what else runs
here counts little.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from itertools import count

from router.account import Accounts, Journal
from router.answer import Answers
from router.fleet import EngineSettings, Fleet, FleetSettings, Probe
from router.joined import Recent
from router.metrics import Tally
from router.parse import ParseSettings
from router.spop import Agent, Limits, Value
from router.spop_wire import (
    HAPROXY_HELLO,
    NOTIFY,
    write_frame,
    write_settings,
    write_text,
    write_uint32,
    write_value,
)

ENGINES = 8
SESSIONS = 512
PASSES = 9


def fleet(count: int = ENGINES) -> Fleet:
    engines = tuple(EngineSettings(f"engine-{at}", f"http://127.0.0.1:{8101 + at}", "tiny") for at in range(count))
    owner = Fleet(FleetSettings(engines), 0.0)
    for engine in engines:
        owner.probe(engine.name, Probe(ok=True, kv_usage=0.1), 0.0)
    return owner


def payload(name: str, arguments: dict[str, Value]) -> bytes:
    pairs = b"".join(write_text(key) + write_value(value) for key, value in arguments.items())
    return write_text(name) + bytes((len(arguments),)) + pairs


def ask(number: int, body: bytes, session: str | None = None) -> bytes:
    """A question's frame. `session`: its header's value, empty for none; else one of a few names."""
    name = f"session-{number % SESSIONS}" if session is None else session
    arguments: dict[str, Value] = {
        "id": f"id-{number}",
        "lease": f"id-{number}",
        "method": "POST",
        "path": "/v1/chat/completions",
        "content_type": "application/json",
        "session": name or None,
        "source": "x-session-id" if name else None,
        "tenant": "-",
        "class": None,
        "size": len(body),
        "body": body,
    }
    return write_frame(NOTIFY, number, 1, payload("ask", arguments))


def begun(number: int) -> bytes:
    arguments: dict[str, Value] = {"id": f"id-{number}", "server": f"engine-{number % ENGINES}", "status": 200}
    return write_frame(NOTIFY, number, 2, payload("begun", arguments))


def line(number: int) -> bytes:
    event = {
        "ts": 1700000000.123,
        "id": f"id-{number}",
        "client": "10.0.0.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "backend": "model-tiny",
        "server": f"engine-{number % ENGINES}",
        "chosen": f"engine-{number % ENGINES}",
        "why": "home",
        "model": "tiny",
        "source": "x-session-id",
        "state": "----",
        "retries": "0",
        "queued_ms": 0,
        "connect_ms": 0,
        "headers_ms": 12,
        "total_ms": 80,
        "bytes_in": 1200,
        "bytes_out": 4000,
    }
    return json.dumps(event).encode()


def body_of(octets: int) -> bytes:
    turns = [{"role": "user", "content": "the quick brown fox " * 50}] * max(1, octets // 1020)
    return json.dumps({"messages": turns, "model": "tiny", "stream": True}).encode()


def microseconds(step: Callable[[bytes], None], frames: list[bytes]) -> float:
    started = time.process_time()
    for frame in frames:
        step(frame)
    return (time.process_time() - started) / len(frames) * 1e6


def measure(rounds: int, octets: int) -> dict[str, float]:
    owner, tally, recent = fleet(), Tally((), ("x-session-id",)), Recent(100_000)
    answers = Answers(
        settings=ParseSettings(("tiny",)),
        backends={"tiny": "model-tiny"},
        fleet=owner,
        tally=tally,
        recent=recent,
        clock=time.perf_counter,
    )
    journal = Journal(tally)
    accounts = Accounts(owner, tally, recent, journal)
    agent = Agent(Limits())
    hello = {"supported-versions": write_value("2.0"), "max-frame-size": write_uint32(131_068)}
    agent.receive(write_settings(HAPROXY_HELLO, hello | {"capabilities": write_value("pipelining")}))
    agent.pending()

    def question(frame: bytes) -> None:
        for each in agent.receive(frame):
            agent.acknowledge(each, answers.answer(each, 1.0) or {})
        agent.pending()

    def event(octets: bytes) -> None:
        accounts.line(octets, 1.0)

    body, numbers = body_of(octets), count()
    passes = []
    for _ in range(PASSES):
        mine = [next(numbers) for _ in range(rounds // PASSES)]
        decided = microseconds(question, [ask(number, body) for number in mine])
        started = microseconds(question, [begun(number) for number in mine])
        finished = microseconds(event, [line(number) for number in mine])
        journal.take()
        passes.append((decided, started, finished))
    assert tally.internal_errors == tally.garbage == 0
    assert not tally.refusals
    assert owner.snapshot(1.0).leases == 0
    names = ("decision_us", "begun_us", "completion_us")
    return {name: round(min(column), 1) for name, column in zip(names, zip(*passes, strict=True), strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20_000)
    rounds = parser.parse_args().rounds
    sys.stdout.write(
        json.dumps({"body_1k": measure(rounds, 1_000), "body_100k": measure(max(rounds // 10, 50), 100_000)}) + "\n"
    )


if __name__ == "__main__":
    main()
