#!/usr/bin/env python3
"""Split GPUs as /etc/ironrack/mig.json says, and nothing where they already are; run at boot, before engines start.

    ironrack-mig [--check] [LAYOUT]      exit 0: as it should be, 1: --check found a difference, 2: it failed

The file maps GPU indices to lists of profiles; an empty list means that the GPU is not split.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

PROFILE = re.compile(r"MIG\s+(\d+g\.\d+gb\S*)")


class Failed(Exception):
    """nvidia-smi refused; its words."""


def ask(*argv: str) -> str:
    """Output of nvidia-smi; raises Failed with what it said."""
    try:
        done = subprocess.run(["nvidia-smi", *argv], capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"nvidia-smi {' '.join(argv)}: {error}") from error
    if done.returncode:
        raise Failed(f"nvidia-smi {' '.join(argv)}: {(done.stdout + done.stderr).strip()}")
    return done.stdout


def split(gpu: str) -> bool:
    """Whether a GPU is in MIG mode."""
    return ask("-i", gpu, "--query-gpu=mig.mode.current", "--format=csv,noheader").strip() == "Enabled"


def instances(gpu: str) -> list[str]:
    """Profiles of the GPU's instances, sorted; nvidia-smi calls having none a failure."""
    try:
        return sorted(PROFILE.findall(ask("mig", "-i", gpu, "-lgi")))
    except Failed as failure:
        if "No GPU instances found" in str(failure):
            return []
        raise


def differs(gpu: str, wanted: list[str]) -> bool:
    """Whether anything is to be done."""
    return split(gpu) != bool(wanted) or (bool(wanted) and instances(gpu) != sorted(wanted))


def apply(gpu: str, wanted: list[str]) -> None:
    """Make one GPU as wanted; raises Failed, which is also how a GPU in use refuses."""
    if split(gpu) and instances(gpu):
        ask("mig", "-i", gpu, "-dci")
        ask("mig", "-i", gpu, "-dgi")
    if split(gpu) != bool(wanted):
        ask("-i", gpu, "-mig", "1" if wanted else "0")
        if split(gpu) != bool(wanted):
            raise Failed(f"GPU {gpu}: the mode changes only after a reset: reboot, or stop what uses the GPU")
    if wanted:
        ask("mig", "-i", gpu, "-cgi", ",".join(wanted), "-C")


def main() -> int:
    """Exit status as the module's first lines say."""
    parser = argparse.ArgumentParser(description="Split GPUs as a file says.")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("layout", nargs="?", default="/etc/ironrack/mig.json", type=Path)
    values = parser.parse_args()
    try:
        layout = json.loads(values.layout.read_text())
        wrong = [gpu for gpu, wanted in sorted(layout.items()) if differs(gpu, wanted)]
        if not values.check:
            for gpu in wrong:
                apply(gpu, layout[gpu])
    except (Failed, OSError, ValueError) as error:
        print(f"ironrack-mig: {error}", file=sys.stderr)
        return 2
    for gpu in wrong:
        print(f"GPU {gpu}: {'differs' if values.check else 'split'}: {', '.join(layout[gpu]) or 'whole'}")
    return 1 if wrong and values.check else 0


if __name__ == "__main__":
    sys.exit(main())
