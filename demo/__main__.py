"""`python -m demo up|down`: what scripts/up and scripts/down run once the Python environment is there."""

from __future__ import annotations

import sys

from demo import down, up


def main() -> int:
    """The exit status of the verb asked for."""
    verbs = {"up": up.main, "down": down.main}
    if len(sys.argv) < 2 or sys.argv[1] not in verbs:
        sys.stderr.write("python -m demo: needs a verb: up or down\n")
        return 2
    return verbs[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
