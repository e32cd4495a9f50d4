"""Whole decisions among many engines: the edge's octets in, the answer's octets out, everything in between.

Time is the processor time of the deciding thread, one decision at a time: what a request waits for the router beyond
the way there. Every session's turns repeat its prompt, first bytes and completion lines come in between, and the index
and the bindings are those of a router at work. What is timed is what runs in a deployment: reading the question, door,
rule, index, lease, and writing the answer; tenants, caps and traces are off, as by default.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from router.account import Accounts, Journal
from router.answer import Answers
from router.joined import Recent
from router.metrics import Tally
from router.parse import ParseSettings
from router.spop import Agent, Limits, Notify
from router.spop_wire import HAPROXY_HELLO, write_settings, write_uint32, write_value
from tests.bench.bench_spop import ask, begun, fleet, line
from tests.bench.figures import digits, percentile
from tests.bench.report import Report, Table

TARGET_MICROSECONDS = 1000.0
TARGET_OCTETS = 50_000
SESSIONS = 200
WARM_TURNS = 2
_TURN = 1000
_LIMITS = Limits(frame=262_144)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`octets`: lengths of prompts, each measured by itself; `decisions`: how many of each."""

    engines: int = 64
    decisions: int = 5000
    octets: tuple[int, ...] = (1000, TARGET_OCTETS, 100_000)


class Decider:
    """A router without sockets: octets in, octets out."""

    def __init__(self, engines: int) -> None:
        self.fleet, self.tally, recent = fleet(engines), Tally((), ("x-session-id",)), Recent(100_000)
        self.answers = Answers(
            settings=ParseSettings(("tiny",)),
            backends={"tiny": "model-tiny"},
            fleet=self.fleet,
            tally=self.tally,
            recent=recent,
            clock=time.perf_counter,
        )
        self.journal = Journal(self.tally)
        self._accounts = Accounts(self.fleet, self.tally, recent, self.journal)
        self._agent = Agent(_LIMITS)
        hello = {"supported-versions": write_value("2.0"), "max-frame-size": write_uint32(_LIMITS.frame)}
        self._agent.receive(write_settings(HAPROXY_HELLO, hello | {"capabilities": write_value("pipelining")}))
        self._agent.pending()

    def question(self, frame: bytes) -> Notify:
        """Answer one question; its octets are thrown away as a socket would take them."""
        [asked] = self._agent.receive(frame)
        self._agent.acknowledge(asked, self.answers.answer(asked, 1.0) or {})
        self._agent.pending()
        return asked

    def completion(self, octets: bytes) -> None:
        """Take one access line."""
        self._accounts.line(octets, 1.0)
        self.journal.take()


def _body(session: int, octets: int) -> bytes:
    text = f"session {session}: " + "the quick brown fox " * (_TURN // 20)
    turns = [{"role": "user", "content": f"{at} {text}"} for at in range(max(1, octets // (_TURN + 40)))]
    return json.dumps({"messages": turns, "model": "tiny", "stream": True}).encode()


def _timed(decider: Decider, frames: Iterator[tuple[int, bytes]], decisions: int) -> list[float]:
    found = []
    for number, frame in (next(frames) for _ in range(decisions)):
        started = time.thread_time()
        decider.question(frame)
        found.append((time.thread_time() - started) * 1e6)
        decider.question(begun(number))
        decider.completion(line(number))
    return found


def frames_of(octets: int, numbers: Callable[[], int], *, named: bool) -> Iterator[tuple[int, bytes]]:
    """Questions without end, each with its number: the sessions take turns."""
    bodies = [_body(session, octets) for session in range(SESSIONS)]
    while True:
        number = numbers()
        yield number, ask(number, bodies[number % SESSIONS], session=f"session-{number % SESSIONS}" if named else "")


def run(wanted: Wanted) -> Report:
    """Every length, with sessions that are named and with those that are told by how they begin."""
    rows, raw = [], {}
    for octets in wanted.octets:
        for named in (True, False):
            decider, numbers = Decider(wanted.engines), count()
            frames = frames_of(octets, numbers.__next__, named=named)
            _timed(decider, frames, WARM_TURNS * SESSIONS)
            times = _timed(decider, frames, wanted.decisions)
            assert decider.tally.internal_errors == decider.tally.garbage == 0
            assert decider.fleet.snapshot(1.0).leases == 0
            name = f"{octets / 1000:g} KB, {'session named' if named else 'by its beginning'}"
            rows.append(_row(name, times, judged=octets == TARGET_OCTETS))
            raw[name] = times
    table = Table(
        f"One decision among {wanted.engines} engines, octets in to octets out (µs of processor time)",
        ["prompt", "decisions", "p50", "p99", "longest", "target", ""],
        rows,
    )
    return Report("decision", {"engines": wanted.engines, "sessions": SESSIONS}, raw, [table])


def _row(name: str, times: list[float], *, judged: bool) -> list[str]:
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    reached = "reached" if p99 <= TARGET_MICROSECONDS else "**not reached**"
    target = [f"p99 ≤ {TARGET_MICROSECONDS:g}", reached] if judged else ["", ""]
    return [name, str(len(times)), digits(p50), digits(p99), digits(max(times)), *target]
