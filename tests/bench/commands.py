"""The benchmarks by name: their options, and what each runs. What a benchmark needs is imported when it runs."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.bench.report import Report


@dataclass(frozen=True, slots=True)
class Command:
    """One benchmark."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Report]


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _overhead_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workloads", type=_words, default=["W1", "W2", "W3", "W4", "W5"])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--haproxy", help="the program to run as edge; else the one on PATH")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="vllm-router=POLICY", help="also measure this; may be repeated"
    )
    parser.add_argument("--peer-python", default="python3", help="the Python that has the peer's package")
    parser.add_argument("--peer-command", help="how a peer is started, with {python} {urls} {policy} {port}")


def _overhead(given: argparse.Namespace) -> Report:
    from tests.bench.overhead.run import run  # noqa: PLC0415
    from tests.bench.overhead.subjects import Wanted  # noqa: PLC0415

    command = {"peer_command": given.peer_command} if given.peer_command else {}
    wanted = Wanted(haproxy=given.haproxy, peers=given.peer, peer_python=given.peer_python, **command)
    return run(wanted, given.workloads, given.seconds, given.repeats)


ALL: Mapping[str, Command] = {
    "overhead": Command("CPU per request and per chunk, beside other subjects", _overhead_arguments, _overhead),
}
