"""What can be done to the containers of the running stack, undone whatever happens."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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


def children(pid: int) -> set[int]:
    """The processes that a process has started and not yet buried."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def service(container: str) -> int:
    """The process that does a container's work: what its init started."""
    (found,) = children(int(docker("inspect", "--format", "{{.State.Pid}}", container)))
    return found
