"""The options of `python -m tests.bench engines`. What it needs is imported when it runs."""

import argparse
from pathlib import Path

from tests.bench import subject_options
from tests.bench.report import Report

_WORKLOADS = ("multi-round", "nameless", "shared-prompt")
# Name, default, what it is: of the traffic.
_TRAFFIC = (
    ("users", 60, "who talk at the same time"),
    ("system", 1_000, "words of the system prompt that users share"),
    ("history", 6_000, "words of each user's own history"),
    ("question", 60, "words of each question"),
    ("answer", 60, "tokens of each answer"),
    ("rounds", 20, "turns of a conversation before its user begins another one"),
    ("think", 4.0, "seconds until the next question, times 0.5 to 1.5"),
    ("tenants", 24, "of shared-prompt"),
    ("prompt", 4_000, "words of each tenant's system prompt"),
    ("rate", 6.0, "questions per second of shared-prompt"),
    ("warm", 15.0, "seconds before the measured window"),
    ("seconds", 45.0, "of the measured window"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument(
        "--engine", action="append", default=[], metavar="URL", help="an engine that runs, http://HOST:PORT; repeat it"
    )
    parser.add_argument("--model", help="else the one that every engine lists")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="holds the engines' key, if they want one")
    parser.add_argument("--subjects", type=_names, default=[], help="else all, `round robin` and the like by comma")
    parser.add_argument("--workloads", type=_names, default=list(_WORKLOADS))
    for name, default, said in _TRAFFIC:
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{said}; {default} by default")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    subject_options.arguments(parser)


def run(given: argparse.Namespace) -> Report:
    """Measure what was asked for."""
    from tests.bench.engines.run import Wanted, run  # noqa: PLC0415 - a bench loads what it needs alone

    return run(
        Wanted(
            engines=given.engine,
            model=given.model,
            subjects=given.subjects,
            workloads=given.workloads,
            traffic={name: getattr(given, name) for name, *_ in _TRAFFIC},
            repeats=given.repeats,
            seed=given.seed,
            started=subject_options.wanted(given),
            key_file=given.api_key_file.resolve() if given.api_key_file else None,
        )
    )


def _names(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
