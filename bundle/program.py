"""Running a program of this machine, and saying in one sentence why it failed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from bundle.manifest import BundleError

TAIL_LINES = 12


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None) -> str:
    """Standard output of a program; raises BundleError with its last lines when it fails or is not there."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise BundleError([f"{argv[0]}: {error.strerror}: it is needed here; install it"]) from None
    if done.returncode:
        said = "\n  ".join((done.stderr + done.stdout).strip().splitlines()[-TAIL_LINES:])
        raise BundleError(
            [f"{' '.join(argv[:4])}: exit status {done.returncode}: it must succeed; its last lines:\n  {said}"]
        )
    return done.stdout


def ask(argv: Sequence[str]) -> str | None:
    """Standard output without the line's end, or None when the program fails."""
    try:
        return run(argv).strip()
    except BundleError:
        return None
