"""`scripts/status`: the board on a terminal, refreshed until Ctrl-C; `--once` and `--json` for everything else."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live

from status.board import Board, board
from status.errors import StatusError
from status.places import ROOT, Places, deployed
from status.screen import screen
from status.sources import look

_PROMETHEUS = "ask this one, http://HOST:9090; IRONRACK_PROMETHEUS_LOGIN has name:password if it wants one"
_NARROWEST = 100  # columns when nobody looks: a pipe has no width


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 shown, 1 shown but something is wrong (--once, --json), 2 nothing to show."""
    given = _parser().parse_args(argv)
    try:
        places = _given(given.prometheus) if given.prometheus else deployed(given.root)
        first = _now(places)
        if not first.engines and first.problems:
            raise StatusError("\n".join(first.problems))
    except StatusError as problem:
        for line in str(problem).splitlines():
            print(f"status: {line}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(asdict(first)))
    elif given.once or not sys.stdout.isatty():
        Console(width=None if sys.stdout.isatty() else _NARROWEST).print(screen(first))
    else:
        return _live(first, lambda: _now(places), given.interval)
    return int(_wrong(first))


def _given(url: str) -> Places:
    return Places(url.rstrip("/"), login=os.environ.get("IRONRACK_PROMETHEUS_LOGIN", ""))


def _wrong(found: Board) -> bool:
    return bool(found.alerts or found.targets_down or found.problems or found.fallback_active)


def _now(places: Places) -> Board:
    return board(look(places), datetime.now().astimezone())


def _live(first: Board, again: Callable[[], Board], seconds: float) -> int:
    with Live(screen(first), screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(seconds)
                live.update(screen(again()), refresh=True)
        except KeyboardInterrupt:
            return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/status", description="What the stack does now, on one screen.")
    parser.add_argument("--once", action="store_true", help="print once and end; 1 if something is wrong")
    parser.add_argument("--json", action="store_true", help="the same as one JSON object")
    parser.add_argument("--prometheus", metavar="URL", default="", help=_PROMETHEUS)
    parser.add_argument("--interval", type=float, default=2.0, metavar="SECONDS", help="between two looks (2)")
    parser.add_argument("--root", type=Path, default=ROOT, help="where the stack is deployed (/opt/ironrack)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
