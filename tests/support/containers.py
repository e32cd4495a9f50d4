"""What can be done to the containers of the running stack, undone whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path


def docker(*words: str) -> str:
    """Run the command line and return what it said. Raises CalledProcessError."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def killed(container: str) -> Iterator[None]:
    """The whole container is ended at once and stays so, as on a host that went away."""
    docker("kill", container)
    try:
        yield
    finally:
        docker("start", container)


@asynccontextmanager
async def paused(container: str) -> AsyncIterator[None]:
    """None of its processes runs; their kernel still takes every packet."""
    await asyncio.to_thread(docker, "pause", container)
    try:
        yield
    finally:
        await asyncio.to_thread(docker, "unpause", container)


@asynccontextmanager
async def stopped(pid: int) -> AsyncIterator[None]:
    """One process does not run; if it was killed meanwhile, that is all right."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def children(pid: int) -> set[int]:
    """The processes that a process has started and not yet buried."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def service(container: str) -> int:
    """The process that does a container's work: what its init started."""
    (found,) = children(int(docker("inspect", "--format", "{{.State.Pid}}", container)))
    return found
