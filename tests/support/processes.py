"""Child processes of a test: free ports, a log file each, and an end that always comes."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 3
# None that the kernel gives to connections: a load of thousands beside a test takes one of those at any moment.
_PORTS = range(22_000, 32_000)
# Processes side by side begin at different places.
_candidates = (_PORTS[(os.getpid() * 997 + step) % len(_PORTS)] for step in count())


def free_ports(wanted: int) -> list[int]:
    """Ports that nothing listens on now, all different and neighbours where they can be, never the last call's."""
    return list(islice(filter(_free, _candidates), wanted))


def _free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("", port))
        except OSError:
            return False
    return True


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Return as soon as `condition` holds, taking a refused connection for no; fail with `what` when it never does.

    `seconds` are those of an idle machine; one that does much else gets `PATIENCE` times as many before it is given up.
    """
    deadline = time.monotonic() + PATIENCE * seconds
    while not _holds(condition):
        assert time.monotonic() < deadline, f"{what}: not so within {PATIENCE * seconds:g} s"
        time.sleep(0.02)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except (OSError, http.client.HTTPException):
        return False


@dataclass
class Child:
    """One process: started with `start`, its output in `log`, ended whole by `stop`."""

    argv: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it in the repository's root, in a process group of its own."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group and, if it ends by it, wait for that."""
        if self.process is None or self.process.poll() is not None:
            return
        os.killpg(self.process.pid, number)
        if number in {signal.SIGKILL, signal.SIGTERM}:
            self.process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing of it runs during the block; its kernel still takes every packet."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill it, frozen or not."""
        self.signal(signal.SIGKILL)

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None
