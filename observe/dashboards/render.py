"""The committed JSON of every dashboard: written, compared, validated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from observe.dashboards import runbooks
from observe.dashboards.boards import files
from observe.dashboards.build import rendered
from observe.dashboards.links import RUNBOOKS
from observe.dashboards.schema import problems


def texts() -> dict[str, str]:
    """What each file should hold."""
    return {f"{RUNBOOKS}.json": runbooks.rendered(), **{name: rendered(board) for name, board in files().items()}}


def written(folder: Path) -> Iterator[Path]:
    """Write what differs and take away what no dashboard is; yields what was touched."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = texts()
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            yield path
    for path in _strangers(folder):
        path.unlink()
        yield path


def stale(folder: Path) -> Iterator[str]:
    """One line per file that is missing, old or of no dashboard."""
    for name, text in texts().items():
        path = folder / name
        if not path.exists():
            yield f"{path}: not there: every dashboard is rendered; run python -m observe.dashboards --write"
        elif path.read_text() != text:
            yield f"{path}: stale: it is made, not edited; run python -m observe.dashboards --write"
    for path in _strangers(folder):
        yield f"{path}: no dashboard of this name: rendered ones may lie here; run python -m observe.dashboards --write"


def wrong(folder: Path) -> Iterator[str]:
    """One line per value that Grafana's schema does not allow."""
    for path in sorted(folder.glob("*.json")):
        for problem in problems(path.read_text()):
            yield f"{path.name}: {problem}"


def _strangers(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if path.name not in {*files(), f"{RUNBOOKS}.json"}]
