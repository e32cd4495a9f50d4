"""Set keys in a TOML file and leave every other line, comment and order as it was.

A whole new file would lose what somebody wrote, and containerd replaces a plugin's table when a drop-in names it too.
The result is read again and compared: a text whose lines cannot be edited safely is refused, never guessed at.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

Table = tuple[str, ...]
Wanted = Mapping[Table, Mapping[str, Any]]

_KEY = re.compile(r"^\s*(?P<key>[A-Za-z0-9_-]+)\s*=")


class NotMergeable(ValueError):
    """The text is no TOML, or says something in a form that cannot be edited line by line."""


def merged(text: str, wanted: Wanted) -> str:
    """`text` with the keys of each table set; raises NotMergeable."""
    now = _parsed(text)
    goal = _with(now, wanted)
    if goal == now:
        return text
    for table, keys in wanted.items():
        text = _with_table(text, table, keys)
    if _parsed(text) != goal:
        raise NotMergeable("the file says it in a form that cannot be edited line by line")
    return text


def holds(text: str, wanted: Wanted) -> bool:
    """Whether the text says all of it already; False for a text that is no TOML."""
    try:
        return _with(_parsed(text), wanted) == _parsed(text)
    except NotMergeable:
        return False


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NotMergeable(f"not TOML ({error})") from None


def _with(now: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    goal: dict[str, Any] = _copied(now)
    for table, keys in wanted.items():
        place = goal
        for name in table:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise NotMergeable(f"{'.'.join(table)} is no table")
        place.update(keys)
    return goal


def _copied(value: Any) -> Any:
    return {key: _copied(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _with_table(text: str, table: Table, keys: Mapping[str, Any]) -> str:
    lines = text.splitlines()
    first, last = _bounds(lines, table)
    if first < 0:
        lines += [*([""] if lines else []), _header(table)]
        first = last = len(lines)
    for key, value in keys.items():
        line = f"{_indent(lines, first)}{key} = {_literal(value)}"
        at = next((n for n in range(first, last) if _key_of(lines[n]) == key), None)
        if at is None:
            lines.insert(first, line)
            last += 1
        else:
            lines[at] = line
    return "\n".join(lines) + "\n"


def _bounds(lines: list[str], table: Table) -> tuple[int, int]:
    """Lines between the table's header and the next one; (-1, -1) without such a header."""
    headers = [(n, found) for n, line in enumerate(lines) if (found := _table_of(line)) is not None]
    ends = [n for n, _ in headers]
    if not table:
        return 0, ends[0] if ends else len(lines)
    start = next((n for n, found in headers if found == table), None)
    if start is None:
        return -1, -1
    return start + 1, next((n for n in ends if n > start), len(lines))


def _table_of(line: str) -> Table | None:
    """The names in a `[table.header]` line, None for any other line; a header of an array is nobody's table."""
    bare = line.strip()
    if not bare.startswith("["):
        return None
    try:
        found: Any = tomllib.loads(bare)
    except tomllib.TOMLDecodeError:
        return None
    names: list[str] = []
    while isinstance(found, dict) and found:
        ((name, found),) = found.items()
        names.append(name)
    return ("[[",) if isinstance(found, list) else tuple(names)


def _key_of(line: str) -> str | None:
    found = _KEY.match(line)
    return found["key"] if found else None


def _indent(lines: list[str], first: int) -> str:
    """The indent of the table's first key, else of its header."""
    near = lines[first : first + 1] + lines[first - 1 : first]
    return next((line[: -len(line.lstrip())] for line in near if line.strip()), "")


def _header(table: Table) -> str:
    return "[" + ".".join(name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"' for name in table) + "]"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
