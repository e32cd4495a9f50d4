"""`scripts/lab`: one JSON object on stdout, everything said to a person on stderr."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.lab import verbs
from tests.lab.errors import LabError
from tests.lab.processes import ROOT

_EPILOG = """\
The edge listens on --port; metrics, router and engines follow it (+1, +2 to +4, +10 and up), so that several labs
can run side by side, each with its own --state and --port. Options after `--` go to every engine, for example
`scripts/lab up --engines 2 -- --cache-tokens 50000 --decode-seconds 0.02`; `python -m tests.engines --help` lists them.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/lab",
        description="Edge, router and simulated engines as plain processes on loopback.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--state", type=Path, default=ROOT / ".lab", help="where state, configurations and logs go")
    verb = parser.add_subparsers(dest="verb", required=True)
    start = verb.add_parser("up", parents=[common], help="start a lab and print where it is")
    start.add_argument("--engines", type=int, default=4)
    start.add_argument("--deciders", type=int, default=1, help="routers beside the edge")
    start.add_argument("--port", type=int, default=18080)
    start.add_argument("--haproxy", help="the program to run as edge")
    start.add_argument("--model", default="sim")
    start.add_argument("--prefill-rate", type=float, default=20_000.0, help="prompt tokens per second of an engine")
    start.add_argument(
        "--calibrate", action="store_true", help="measure each engine's prefill rate, as a deployment does"
    )
    start.add_argument("--compiled", type=Path, metavar="FOLDER", help="what router/compile.py filled")
    start.add_argument("--decide-milliseconds", type=int, help="how long the edge waits for the router")
    start.add_argument(
        "--timeout",
        action="append",
        default=[],
        type=_timeout,
        metavar="NAME=SECONDS",
        help="one of stack_edge.timeouts",
    )
    verb.add_parser("down", parents=[common], help="end what `up` started")
    verb.add_parser("status", parents=[common], help="what runs; exit status 1 if something does not")
    for name, text in (("kill", "end one process as a crash would"), ("restart", "start one process again")):
        one = verb.add_parser(name, parents=[common], help=text)
        one.add_argument("process", help="router, edge or the name of an engine")
    return parser


def _timeout(text: str) -> tuple[str, int]:
    name, _, seconds = text.partition("=")
    return name, int(seconds)


def _run(argv: list[str]) -> tuple[dict[str, Any], int]:
    cut = argv.index("--") if "--" in argv else len(argv)
    given = _parser().parse_args(argv[:cut])
    state = given.state.resolve()
    match given.verb:
        case "up":
            return _up(given, state, tuple(argv[cut + 1 :])), 0
        case "down":
            return {"ended": verbs.down(state)}, 0
        case "status":
            found = verbs.status(state)
            return found, 0 if all(found["running"].values()) else 1
        case "kill":
            return verbs.kill(state, given.process), 0
    return verbs.restart(state, given.process), 0


def _up(given: argparse.Namespace, state: Path, engine_options: tuple[str, ...]) -> dict[str, Any]:
    # Planning takes most of a second to import, and no other verb needs it.
    from tests.lab import launch, topology  # noqa: PLC0415 - see above

    program, version = launch.haproxy(given.haproxy)
    wanted = topology.Wanted(
        engines=given.engines,
        port=given.port,
        model=given.model,
        haproxy=program,
        haproxy_version=version,
        prefill_rate=given.prefill_rate,
        decide_milliseconds=given.decide_milliseconds,
        engine_options=engine_options,
        state=state,
        deciders=given.deciders,
        calibrate=given.calibrate,
        timeouts=dict(given.timeout),
        compiled=given.compiled.resolve() if given.compiled else None,
    )
    return launch.up(wanted)


def main() -> int:
    """Exit status: 0 done, 1 not all runs (`status`), 2 not done."""
    try:
        said, status = _run(sys.argv[1:])
    except LabError as problem:
        sys.stderr.write("".join(f"lab: {line}\n" for line in str(problem).splitlines()))
        return 2
    sys.stdout.write(json.dumps(said) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
