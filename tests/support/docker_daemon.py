"""Whose turn it is to bring Docker, where several groups of tests run side by side on a machine without it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import docker
from tests.support.processes import ROOT

_LOCK = ROOT / ".cache" / "docker.lock"


@contextmanager
def bringing_docker() -> Iterator[Callable[[], None]]:
    """Hold everybody else who needs Docker until the function is called, or the block ends."""
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(lock, fcntl.LOCK_UN)


def ensure_docker() -> None:
    """Return once Docker answers; where nobody else is bringing it, the playbook does."""
    with bringing_docker():
        if docker.answers():
            return
        playbook = Path(sys.executable).with_name("ansible-playbook")
        subprocess.run([playbook, "-i", "inventories/demo", "playbooks/prepare.yml"], cwd=ROOT, check=True)
