"""Real processes: what the lab ends is what it started."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.processes import Command, Process, end, kill, spawn, wait

STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"


def command(tmp_path: Path, code: str) -> Command:
    return Command("one", [sys.executable, "-c", code], {}, "", str(tmp_path / "one.log"))


@pytest.fixture
def sleeping(tmp_path: Path) -> Iterator[Process]:
    process = spawn(command(tmp_path, "import time; time.sleep(60)"), tmp_path)
    yield process
    kill([process])


def test_end_stops_a_process_and_a_second_time_does_nothing(sleeping: Process) -> None:
    """Ending is final and repeatable."""
    assert sleeping.alive()
    end([sleeping])
    assert not sleeping.alive()
    end([sleeping])


def test_end_leaves_a_recycled_pid_alone(sleeping: Process) -> None:
    """The same pid with another start time is another process, and none of ours."""
    recycled = replace(sleeping, started=sleeping.started - 1)
    assert not recycled.alive()
    end([recycled])
    kill([recycled])
    assert sleeping.alive()


def test_end_wakes_a_stopped_process(sleeping: Process) -> None:
    """A process that was paused for a test does not outlive it."""
    os.kill(sleeping.pid, signal.SIGSTOP)
    end([sleeping])
    assert not sleeping.alive()


def test_end_kills_what_does_not_listen(tmp_path: Path) -> None:
    """A process that ignores a polite request ends all the same."""
    stubborn = spawn(command(tmp_path, STUBBORN), tmp_path)
    log = tmp_path / "one.log"
    assert wait(lambda: log.read_text() == "on\n", 10)
    end([stubborn])
    assert not stubborn.alive()
