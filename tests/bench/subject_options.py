"""The options that say which programs are measured, for every bench that starts them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bench.overhead.subjects import Wanted


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("--haproxy", help="the program to run as edge; else the one on PATH")
    parser.add_argument("--compiled", type=Path, metavar="FOLDER", help="what router/compile.py filled")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="vllm-router=POLICY", help="also measure this; may be repeated"
    )
    parser.add_argument("--peer-python", default="python3", help="the Python that has the peer's package")
    parser.add_argument("--peer-command", help="how a peer is started, with {python} {urls} {policy} {port}")


def wanted(given: argparse.Namespace) -> "Wanted":
    """What they ask for."""
    from tests.bench.overhead import subjects  # noqa: PLC0415 - a bench loads what it needs alone

    return subjects.Wanted(
        haproxy=given.haproxy,
        peers=given.peer,
        peer_python=given.peer_python,
        peer_command=given.peer_command or subjects.PEER_COMMAND,
        compiled=given.compiled.resolve() if given.compiled else None,
    )
