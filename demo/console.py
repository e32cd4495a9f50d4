"""What the person at the terminal sees: steps with elapsed time, long commands line by line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from demo.paths import ROOT

TAIL_LINES = 20
WIDTH = 180
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")


class StepError(Exception):
    """A step could not be done; the text says where, what was found and what to do."""


class Console:
    """Writes progress to stdout; its clock starts when it is made."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """One line, with the seconds since the start in front."""
        sys.stdout.write(f"[{time.monotonic() - self._started:5.0f}s] {text}\n")
        sys.stdout.flush()

    def lines(self, text: str) -> None:
        """Several lines as they are: tables and the like."""
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Say when `title` begins and how long it took."""
        self.say(f"{title} ...")
        began = time.monotonic()
        yield
        self.say(f"{title}: done in {time.monotonic() - began:.1f} s")

    def stream(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, every_seconds: float = 0) -> None:
        """Run a command in the checkout and show its output as it comes, at most one line per `every_seconds`.

        Raises StepError, with the last lines, when the command cannot start or exits non-zero.
        """
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        try:
            process = subprocess.Popen(
                argv,
                env={**os.environ, **(env or {})},
                cwd=ROOT,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise StepError(f"{argv[0]}: cannot be started: {error.strerror}: is it installed and on PATH?") from error
        with process:
            for line in self._throttled(process.stdout or (), every_seconds):
                tail.append(line)
        if process.returncode:
            last = "\n  ".join(tail)
            raise StepError(f"{' '.join(argv[:6])}: exit status {process.returncode}; its last lines:\n  {last}")

    def _throttled(self, lines: Iterable[str], every_seconds: float) -> Iterator[str]:
        shown = -every_seconds
        for raw in lines:
            line = COLOURS.sub("", raw).rstrip()
            if line and time.monotonic() - shown >= every_seconds:
                self.lines(f"         | {line[:WIDTH]}")
                shown = time.monotonic()
            if line:
                yield line


def output(argv: Sequence[str], *, seconds: float = 60) -> str | None:
    """The stdout of a quick command, or None when it fails, is missing or takes too long."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
