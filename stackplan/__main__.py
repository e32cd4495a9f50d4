"""`python -m stackplan`: write the committed Compose projects, or with --check say which are stale.

A project is a folder with a stack.yml: the five sections, and `stack_gpus` where its one host has some.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from stackplan.grafana import grafana_boards
from stackplan.plan import PlanError, plan
from stackplan.render import render

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = sorted((ROOT / "roles" / "engine" / "files").glob("*.py"))
BOARDS = ROOT / "roles" / "observe" / "files" / "dashboards"
TEMPLATES = ROOT / "roles" / "edge" / "templates"
HOST = "localhost"
HEADER = "# Made by scripts/render from stack.yml: edit that, not this.\n"


def main(argv: list[str] | None = None) -> int:
    """Exit 1 when --check finds a stale file, 2 when a stack.yml cannot be planned."""
    parser = argparse.ArgumentParser(prog="stackplan", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    parser.add_argument("folders", nargs="*", type=Path, help="projects (default: every folder of compose/)")
    args = parser.parse_args(argv)
    folders = args.folders or sorted(path.parent for path in (ROOT / "compose").glob("*/stack.yml"))
    try:
        stale = [path for folder in folders for path in _differing(folder, write=not args.check)]
    except PlanError as error:
        print(error, file=sys.stderr)
        return 2
    for path in stale:
        print(f"{path}: {'stale: run scripts/render' if args.check else 'written'}")
    return 1 if args.check and stale else 0


def project(folder: Path) -> dict[str, str]:
    """The files a project's stack.yml gives, by path below its folder; raises PlanError."""
    intent = yaml.safe_load((folder / "stack.yml").read_text())
    groups = ["edge", "engines", "observe"]
    planned = plan(intent, [{"name": HOST, "groups": groups, "gpus": intent.get("stack_gpus", 0)}], root=".")
    boards = {path: (BOARDS / source).read_text() for path, source in grafana_boards(planned, HOST).items()}
    plugins = {f"engine/{path.name}": path.read_text() for path in PLUGINS}
    return {**render(planned, HOST, edge_templates(), HEADER), **plugins, **boards}


def edge_templates() -> dict[str, str]:
    """The edge's templates and their parts, by the path under which one includes another."""
    return {path.relative_to(TEMPLATES).as_posix(): path.read_text() for path in TEMPLATES.rglob("*.j2")}


def _differing(folder: Path, write: bool) -> list[Path]:
    wanted = {folder / name: text for name, text in project(folder).items()}
    differing = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in differing if write else []:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    return differing


if __name__ == "__main__":
    sys.exit(main())
