#!/usr/bin/env python3
"""Starts vLLM, and ends it when it is stuck, so that Docker starts it again.

    restart_stuck.py --url http://127.0.0.1:8101 --model NAME --after 300 --most 3 vllm serve ...

An engine can answer its health check for hours and compute nothing. Routers give it no requests meanwhile, but only a
new process brings it back. Stuck is an engine that was ready, that has computed nothing for `--after` seconds, and that
left two requests of ours for one token unanswered in that time: an idle engine answers them, a busy one computes. They
are sent only after a third of that time without a token. Of an engine that refuses them, or sleeps, nothing can be
known; it is left alone, as is one that loads its weights.

At most `--most` times in six hours: an engine that is stuck again and again needs a person, and stays out until then.
Runs inside the engine's container, in front of vLLM; needs Python's own library alone, from 3.10.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

STUCK = 70  # the exit status: the engine's own is passed on
WINDOW_SECONDS = 6 * 3600
UNANSWERED = 2
LOOK_SECONDS = 5.0
KILLED_SECONDS = 60.0
LOOKS = 30  # in `--after` seconds
MOST_OCTETS = 8 * 2**20
# Counters of which one grows while an engine computes; what it says of itself when it sleeps.
_COMPUTED = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total", "vllm:iteration_tokens_total_count")
_SLEEP = "vllm:engine_sleep_state{"


class Patience:
    """How long an engine has computed nothing. Times are seconds of a clock that only runs forward."""

    def __init__(self, after: float) -> None:
        self.after = after
        self.computed: float | None = None
        self.since: float | None = None  # None: it was not ready yet
        self.unanswered = 0
        self.leaving = False  # it was told to end: from then on nothing is held against it

    def alive(self, now: float) -> None:
        """Something came from it, or nothing can be known: from now on time counts again."""
        self.since, self.unanswered = now, 0

    def looked(self, computed: float | None, now: float) -> None:
        """`computed`: tokens so far, None where it did not say."""
        if computed is not None and computed != self.computed:
            self.computed = computed
            self.alive(now)

    def doubtful(self, now: float) -> bool:
        """Whether it should be asked for a token."""
        return self.since is not None and now - self.since >= self.after / (UNANSWERED + 1)

    def stuck(self, now: float) -> bool:
        """Whether to end it."""
        return self.since is not None and self.unanswered >= UNANSWERED and now - self.since >= self.after


class Engine:
    """What an engine says over HTTP; everything that is no answer is None."""

    def __init__(self, url: str, model: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self.host, self.port, self.model = parts.hostname or "", parts.port or 80, model
        key = os.environ.get("VLLM_API_KEY", "")
        self.headers = {"authorization": f"Bearer {key}"} if key else {}

    def ready(self) -> bool:
        """Whether it says that it is well."""
        return self._asked("GET", "/health", LOOK_SECONDS)[0] == 200

    def computed(self) -> tuple[float | None, bool]:
        """How many tokens it has computed so far, and whether it is awake."""
        status, page = self._asked("GET", "/metrics", LOOK_SECONDS)
        return counted(page) if status == 200 else (None, True)

    def answers(self, seconds: float) -> bool:
        """Whether a request for one token ends in time, in a token or in a refusal."""
        wish = {"model": self.model, "prompt": ".", "max_tokens": 1, "temperature": 0}
        return self._asked("POST", "/v1/completions", seconds, json.dumps(wish))[0] != 0

    def _asked(self, method: str, path: str, seconds: float, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=seconds)
        try:
            connection.request(method, path, body, {**self.headers, "content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(MOST_OCTETS).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()


def counted(page: str) -> tuple[float | None, bool]:
    """What a page of metrics says was computed, and whether the engine is awake; one that knows no sleep is."""
    found = [line.rsplit(" ", 1) for line in page.splitlines() if line.startswith((*_COMPUTED, _SLEEP))]
    tokens = [float(value) for name, value in found if not name.startswith(_SLEEP)]
    awake = [float(value) for name, value in found if name.startswith(_SLEEP) and 'sleep_state="awake"' in name]
    return (sum(tokens) if tokens else None), (not awake or any(awake))


class Budget:
    """When the engine was ended, by the clock of the host's boot, in a file that lives as long as the container."""

    def __init__(self, path: Path, most: int) -> None:
        self.path, self.most = path, most

    def take(self, now: float) -> int:
        """Write one more down and say which it is; 0: there were as many as may be, or it cannot be written."""
        try:
            before = [float(when) for when in json.loads(self.path.read_text())]
        except (OSError, ValueError, TypeError):
            before = []
        recent = [when for when in before if 0 <= now - when < WINDOW_SECONDS]
        if len(recent) >= self.most:
            return 0
        try:
            self.path.write_text(json.dumps([*recent, now]))
        except OSError as error:
            say(f"{self.path}: {error.strerror}: how often this engine was ended must be remembered there")
            return 0
        return len(recent) + 1


def watch(process: subprocess.Popen[bytes], engine: Engine, patience: Patience, budget: Budget) -> int:
    """Return the engine's exit status, or STUCK after it was ended."""
    every = min(max(patience.after / LOOKS, 0.1), 10.0)
    while True:
        began = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=every)
        now = time.monotonic()
        if patience.leaving:
            continue
        if patience.since is None:
            if engine.ready():
                patience.alive(now)
            continue
        if now - began > every + LOOK_SECONDS:  # everything here stood still, this program as well
            patience.alive(now)
        try:
            look(engine, patience)
        except Exception as error:  # whatever is wrong here must not end an engine that is well
            say(f"{error!r}: the engine could not be looked at")
            patience.alive(time.monotonic())
        if not patience.leaving and patience.stuck(time.monotonic()) and end(process, patience, budget):
            return STUCK


def look(engine: Engine, patience: Patience) -> None:
    """One look; where nothing has advanced for a while, one question."""
    computed, awake = engine.computed()
    now = time.monotonic()
    patience.looked(computed, now)
    if not awake:
        patience.alive(now)
    if not patience.doubtful(now) or patience.stuck(now):
        return
    allowed = patience.after / (UNANSWERED + 1)
    answered = engine.answers(allowed)
    after = time.monotonic()
    if answered or after - now > allowed + LOOK_SECONDS:
        patience.alive(after)
    elif after - now >= allowed / 2:  # a refused connection is no patience
        patience.unanswered += 1


def end(process: subprocess.Popen[bytes], patience: Patience, budget: Budget) -> bool:
    """End it if that may be, and say what it did last; False: it may not, and its time begins anew."""
    number = budget.take(time.monotonic())
    told = f"stuck: nothing computed for {patience.after:g} s, {patience.unanswered} requests for one token unanswered"
    if not number:
        say(f"{told}; ended {budget.most} times in six hours already: it stays as it is, and needs a person")
        patience.alive(time.monotonic())
        return False
    say(f"{told}; ended for the {number}. of at most {budget.most} times in six hours. Its processes:")
    for line in processes(process.pid):
        say(line)
    os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in a driver outlives even that
        process.wait(timeout=KILLED_SECONDS)
    return True


def processes(group: int) -> Iterator[str]:
    """Of every process of a group: number, name, state, and what it waits for in the kernel."""
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        name, _, rest = text(folder / "stat").partition("(")[2].rpartition(") ")
        state, _, its = [*rest.split()[:3], "", "", ""][:3]
        if its == str(group):
            yield f"  {folder.name} {name} {state} {text(folder / 'wchan')}"


def text(path: Path) -> str:
    """A small file, or nothing: its process may have ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def say(text: str) -> None:
    """One line for the container's log."""
    print(f"restart_stuck: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the engine until it ends or is ended."""
    parser = argparse.ArgumentParser(description="Starts vLLM, and ends it when it is stuck.")
    parser.add_argument("--url", required=True, help="where the engine answers")
    parser.add_argument("--model", required=True, help="the name it serves")
    parser.add_argument("--after", type=float, required=True, help="seconds without a token")
    parser.add_argument("--most", type=int, required=True, help="how often in six hours")
    parser.add_argument("--remember", type=Path, default=Path("/var/tmp/ironrack-stuck.json"), help="file for that")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what starts the engine")
    given = parser.parse_args()
    process = subprocess.Popen(given.command, start_new_session=True)
    patience = Patience(given.after)

    def pass_on(number: int, _: FrameType | None) -> None:
        patience.leaving = True
        process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    status = watch(process, Engine(given.url, given.model), patience, Budget(given.remember, given.most))
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
