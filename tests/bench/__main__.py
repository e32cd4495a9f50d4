"""`python -m tests.bench NAME [--json FILE] [--markdown FILE] [--plots DIR]`: names and options with `--help`."""

import argparse
import sys
from pathlib import Path

from tests.bench import commands
from tests.bench.errors import BenchError
from tests.bench.report import Report, put_markdown


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", type=Path, help="write every measurement to this file")
    common.add_argument("--markdown", type=Path, help="put the tables into this file, in place of the last ones")
    common.add_argument("--plots", type=Path, help="draw into this folder")
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Ironrack's benchmarks.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, command in commands.ALL.items():
        one = kinds.add_parser(name, parents=[common], help=command.help)
        command.arguments(one)
        one.set_defaults(run=command.run)
    return parser


def _write(report: Report, given: argparse.Namespace) -> None:
    sys.stdout.write(report.markdown() + "\n")
    if given.json:
        given.json.write_text(report.json())
    if given.markdown:
        put_markdown(given.markdown, report)
    if given.plots:
        # Drawing takes a second to import, and most runs draw nothing.
        from tests.bench.plots import draw  # noqa: PLC0415 - see above

        for plot in report.plots:
            draw(plot, given.plots)


def main(argv: list[str]) -> int:
    """Exit status: 0 measured, 2 not done."""
    given = _parser().parse_args(argv)
    try:
        _write(given.run(given), given)
    except BenchError as problem:
        sys.stderr.write(f"bench: {problem}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
