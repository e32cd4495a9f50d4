"""The benchmarks by name: their options, and what each runs. What a benchmark needs is imported when it runs."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import subject_options
from tests.bench.engines import options as engines
from tests.bench.report import Report


@dataclass(frozen=True, slots=True)
class Command:
    """One benchmark."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Report]


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


def _seconds(text: str) -> float | None:
    return None if text == "never" else float(text)


def _overhead_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workloads", type=_words, default=["W1", "W2", "W3", "W4", "W5"])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    subject_options.arguments(parser)


def _overhead(given: argparse.Namespace) -> Report:
    from tests.bench.overhead.run import run  # noqa: PLC0415 - a bench loads what it needs alone

    return run(subject_options.wanted(given), given.workloads, given.seconds, given.repeats)


def _quality_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workloads", type=_words, default=[], help="else all there is data for")
    parser.add_argument("--deciders", type=_numbers, default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of each workload's sessions and of its time")
    parser.add_argument("--trace", type=Path, help="a conversation trace: JSON lines with hash_ids, .gz or not")
    parser.add_argument(
        "--share-seconds", type=_seconds, default=0.1, help="how often deciders share their load; `never` is possible"
    )
    parser.add_argument("--processes", type=int, default=1, help="runs at the same time")


def _quality(given: argparse.Namespace) -> Report:
    from tests.bench.quality.run import Wanted, run  # noqa: PLC0415 - a bench loads what it needs alone

    return run(
        Wanted(
            workloads=given.workloads,
            deciders=given.deciders,
            seeds=given.seeds,
            scale=given.scale,
            trace=given.trace,
            share_seconds=given.share_seconds,
            processes=given.processes,
        )
    )


def _memory_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--haproxy", help="only its version counts here; else the one on PATH")
    parser.add_argument("--compiled", type=Path, metavar="FOLDER", help="what router/compile.py filled")


def _memory(given: argparse.Namespace) -> Report:
    from tests.bench.memory.run import run  # noqa: PLC0415 - a bench loads what it needs alone

    return run(given.sessions, given.haproxy, given.compiled.resolve() if given.compiled else None)


def _faults_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", type=_words, default=[], help="parts of names; else all")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each session before and after an event")
    parser.add_argument("--pause-seconds", type=float, default=60.0, help="how long two-turn sessions are begun for")


def _faults(given: argparse.Namespace) -> Report:
    from tests.bench.faults.run import run  # noqa: PLC0415 - a bench loads what it needs alone

    return run(given.cases, given.rounds, given.pause_seconds)


def _scraped_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engines", type=int, default=64)
    parser.add_argument("--every-seconds", type=float, default=15.0, help="between two scrapes")
    parser.add_argument("--rate", type=float, default=1000.0, help="decisions per second")
    parser.add_argument("--passes", type=int, default=5, help="the best of so many is compared")


def _scraped(given: argparse.Namespace) -> Report:
    from tests.bench.scraped.run import Wanted, run  # noqa: PLC0415 - a bench loads what it needs alone

    return run(Wanted(given.engines, given.every_seconds, given.rate, given.passes))


def _decision_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engines", type=int, default=64)
    parser.add_argument("--decisions", type=int, default=5000, help="of each kind")


def _decision(given: argparse.Namespace) -> Report:
    from tests.bench.decision.run import Wanted, run  # noqa: PLC0415 - a bench loads what it needs alone

    return run(Wanted(given.engines, given.decisions))


def _rules_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engines", type=int, default=200)
    parser.add_argument("--every-seconds", type=int, default=15, help="between two scrapes")
    parser.add_argument("--seconds", type=int, default=120, help="how long it is watched")


def _rules(given: argparse.Namespace) -> Report:
    from tests.bench.rules.run import Wanted, run  # noqa: PLC0415 - a bench loads what it needs alone

    return run(Wanted(given.engines, given.every_seconds, given.seconds))


ALL: Mapping[str, Command] = {
    "rules": Command("what evaluating every rule takes, for many engines", _rules_arguments, _rules),
    "quality": Command("hits, waiting and balance of routing rules, in virtual time", _quality_arguments, _quality),
    "memory": Command("the router's memory over many sessions", _memory_arguments, _memory),
    "faults": Command("requests that fail while something breaks", _faults_arguments, _faults),
    "decision": Command("how long one decision takes among many engines", _decision_arguments, _decision),
    "scraped": Command("a decision's time while metrics are read", _scraped_arguments, _scraped),
    "overhead": Command("CPU per request and per chunk, beside other subjects", _overhead_arguments, _overhead),
    "engines": Command("routing quality on engines that already run, in real time", engines.arguments, engines.run),
}
