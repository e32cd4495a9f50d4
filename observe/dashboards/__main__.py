"""`python -m observe.dashboards`: --write renders the dashboards, --check proves them rendered, fresh and valid.

--pictures URL draws each dashboard's data from a Prometheus; --walk URL names the panels it has no data for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "roles" / "observe" / "files" / "dashboards"
FIGURES = ROOT / "docs" / "figures"


def main(argv: list[str] | None = None) -> int:
    """Exit 1 when something is stale, invalid or without data."""
    parser = argparse.ArgumentParser(prog="observe.dashboards", description=__doc__)
    verb = parser.add_mutually_exclusive_group(required=True)
    verb.add_argument("--check", action="store_true", help="all rendered, fresh and valid")
    verb.add_argument("--write", action="store_true", help="render what is stale")
    verb.add_argument("--walk", metavar="URL", help="ask this Prometheus every panel's question")
    verb.add_argument("--pictures", metavar="URL", help="draw every dashboard from this Prometheus")
    parser.add_argument("--minutes", type=float, default=15.0, help="how far pictures look back")
    parser.add_argument("--folder", type=Path, default=FIGURES, help="where pictures go")
    args = parser.parse_args(argv)
    if args.walk:
        return _said(_walk(args.walk))
    if args.pictures:
        return _pictures(args.pictures, args.minutes, args.folder)
    return _said(_rendered(write=args.write))


def _said(lines: list[str]) -> int:
    for line in lines:
        print(line)
    return 1 if lines else 0


def _rendered(write: bool) -> list[str]:
    # The SDK is a tool of those who change dashboards; links and walks go without it.
    from observe.dashboards.render import stale, written, wrong  # noqa: PLC0415 - see above

    if write:
        for path in written(FOLDER):
            print(f"{path}: written")
    found = [*stale(FOLDER), *wrong(FOLDER)]
    if not found:
        print(f"{len(list(FOLDER.glob('*.json')))} dashboards: rendered, fresh, valid")
    return found


def _walk(url: str) -> list[str]:
    from observe.dashboards.walk import silent, walked  # noqa: PLC0415 - as above

    return [str(finding) for finding in silent(walked(url))]


def _pictures(url: str, minutes: float, folder: Path) -> int:
    from observe.dashboards.pictures import draw_all  # noqa: PLC0415 - needs matplotlib, of the group bench

    for path in draw_all(url, minutes * 60, folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
