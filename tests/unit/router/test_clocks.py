"""A clock that jumps moves no decision: the router measures time with the monotonic clock only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import router

SOURCES = sorted(Path(router.__file__).parent.glob("*.py"))
WALL = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime", "ctime", "fromtimestamp", "asctime"}
MODULES = {"time", "datetime", "date"}
# Told to people, never compared: when settings were loaded, when a model was listed.
TOLD = {"_wall_clock", "created"}


def wall_clocks(tree: ast.AST) -> Iterator[str]:
    """Every use of a wall clock, but for functions and values that only tell the time."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.Assign) and _name(node) in TOLD:
            continue
        if isinstance(node, ast.Attribute) and node.attr in WALL and _named(node.value) in MODULES:
            yield f"{_named(node.value)}.{node.attr}, line {node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield from (f"{alias.name}, line {node.lineno}" for alias in node.names if alias.name in WALL)
        yield from wall_clocks(node)


def _name(node: ast.FunctionDef | ast.Assign) -> str:
    return node.name if isinstance(node, ast.FunctionDef) else _named(node.targets[0])


def _named(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def test_no_decision_reads_a_wall_clock() -> None:
    """Daylight saving, a leap second or a clock set right: nothing expires, is ejected or let in by it."""
    found = {path.name: list(wall_clocks(ast.parse(path.read_text()))) for path in SOURCES}
    assert {name: uses for name, uses in found.items() if uses} == {}


def test_a_wall_clock_would_be_found() -> None:
    """The check can fail."""
    for text in ("import time\nx = time.time()", "from time import time", "import datetime\ndatetime.datetime.now()"):
        assert list(wall_clocks(ast.parse(text))), text
