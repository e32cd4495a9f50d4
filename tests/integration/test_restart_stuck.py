"""What starts vLLM in its container, in front of a simulated engine: it ends one that is stuck, and no other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.loading import module_at
from tests.support.processes import ROOT, Child, free_ports, wait_until

PROGRAM = ROOT / "roles" / "engine" / "files" / "restart_stuck.py"
STUCK = 70
# Of an engine that is not stuck each answer may take a third of it, on a busy machine as well.
LONG = 12.0
SHORT = 6.0


class Guarded:
    """A simulated engine behind the program."""

    def __init__(self, folder: Path, after: float, *options: str, most: int = 3) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.remember = folder / "stuck.json"
        self.log = folder / "engine.log"
        told = ["--url", self.url, "--model", "sim", "--after", str(after), "--most", str(most)]
        engine = ["-m", "tests.engines", "--name", "sim", "--model", "sim", "--port", str(self.port), *options]
        command = [sys.executable, str(PROGRAM), *told, "--remember", str(self.remember), sys.executable, *engine]
        self.child = Child(command, self.log)

    def asked(self, path: str, body: object = None) -> str:
        """What the engine says; raises OSError where it does not."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=120) as answer:
            return str(answer.read().decode())

    def ready(self) -> bool:
        """Whether it answers by now."""
        return self.asked("/health") is not None

    def tokens(self) -> float:
        """Generated so far."""
        lines = self.asked("/metrics").splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:generation_tokens_total"))

    def ended(self) -> bool:
        """Whether the program is over."""
        return not self.child.running

    def status(self) -> int | None:
        """With what."""
        return self.child.process.returncode if self.child.process else None


Guard = Callable[..., Guarded]


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """Start one; it is up when this returns, and seen so by the program once it asks or waits."""
    started: list[Guarded] = []

    def start(after: float, *options: str, most: int = 3) -> Guarded:
        found = Guarded(tmp_path, after, *options, most=most)
        started.append(found)
        found.child.start()
        wait_until(found.ready, "the engine is up")
        return found

    try:
        yield start
    finally:
        for each in started:
            each.child.signal(signal.SIGTERM)
            each.child.stop()


def test_engine_that_stands_still_is_ended(guard: Guard) -> None:
    """Its health is good all the time. The log says why it was ended, and what its processes were doing."""
    engine = guard(SHORT)
    wait_until(lambda: engine.tokens() > 0, "it was found ready, and asked for a token")
    engine.asked("/sim", {"freeze": True})
    wait_until(engine.ended, "it is ended")
    assert engine.status() == STUCK
    with pytest.raises(OSError, match="refused"):
        engine.asked("/health")
    said = engine.log.read_text()
    assert "restart_stuck: stuck: nothing computed for 6 s, 2 requests for one token unanswered" in said
    assert "for the 1. of at most 3 times" in said
    assert "python" in said.split("Its processes:")[1]
    assert len(json.loads(engine.remember.read_text())) == 1


def test_engine_that_was_ended_too_often_stays(guard: Guard) -> None:
    """It needs a person, and the log says so."""
    engine = guard(SHORT, most=1)
    wait_until(lambda: engine.tokens() > 0, "it was found ready, and asked for a token")
    engine.remember.write_text(json.dumps([time.monotonic()]))
    engine.asked("/sim", {"freeze": True})
    wait_until(lambda: "needs a person" in engine.log.read_text(), "it says that it may not")
    assert engine.child.running
    assert engine.ready()


def test_idle_engine_is_asked_for_a_token_and_left_alone(guard: Guard) -> None:
    """Three times in a row: more than it would take to be ended."""
    engine = guard(LONG)
    wait_until(lambda: engine.tokens() >= 3, "it was asked three times", 2 * LONG)
    assert engine.child.running
    assert not engine.remember.exists()


def test_engine_whose_queue_is_long_is_left_alone(guard: Guard) -> None:
    """It answers no request of ours for longer than an idle one may, and computes all the time."""
    engine = guard(LONG, "--max-num-seqs", "1", "--decode-seconds", "0.05")
    tokens = round(1.5 * LONG / 0.05)
    wish = {"model": "sim", "prompt": "Count.", "max_tokens": tokens, "ignore_eos": True}
    answer = json.loads(engine.asked("/v1/completions", wish))
    assert answer["usage"]["completion_tokens"] == tokens
    assert engine.child.running


def test_engine_that_refuses_to_make_text_counts_as_alive(guard: Guard) -> None:
    """A model that only embeds: nothing can be known of it this way. One that stands still says nothing at all."""
    engine = guard(LONG)
    asked = module_at(PROGRAM).Engine(engine.url, "sim")
    assert (asked.ready(), asked.answers(60.0)) == (True, True)
    engine.asked("/sim", {"refuse": "404"})
    assert asked.answers(60.0)
    engine.asked("/sim", {"refuse": "", "freeze": True})
    assert (asked.ready(), asked.answers(0.5)) == (True, False)


def test_exit_status_of_the_engine_is_passed_on(tmp_path: Path) -> None:
    """Docker sees what vLLM ended with."""
    told = ["--url", "http://127.0.0.1:9", "--model", "sim", "--after", "300", "--most", "3"]
    command = [sys.executable, str(PROGRAM), *told, "sh", "-c"]
    assert subprocess.run([*command, "exit 7"], check=False).returncode == 7
    assert subprocess.run([*command, "kill -9 $$"], check=False).returncode == 137


def test_signals_reach_the_engine(tmp_path: Path) -> None:
    """So that it ends its answers when Docker stops it."""
    told = ["--url", "http://127.0.0.1:9", "--model", "sim", "--after", "300", "--most", "3"]
    engine = "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done"
    child = Child([sys.executable, str(PROGRAM), *told, "sh", "-c", engine], tmp_path / "log")
    child.start()
    try:
        wait_until(lambda: "up" in (tmp_path / "log").read_text(), "the engine is up")
        assert child.process is not None
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(timeout=60) == 9
    finally:
        child.stop()
