"""Versions as people write them: `580.95.05`, `v0.29.0`, `6.8.0-51-generic`, compared number by number."""

from __future__ import annotations

import re

_NUMBERS = re.compile(r"\d+")
_LEADING = re.compile(r"v?(\d+(?:\.\d+)*)")
_CLAUSE = re.compile(r"^(>=|<=|==|!=|<|>)\s*(\d+(?:\.\d+)*)$")


def numbers(version: str) -> tuple[int, ...]:
    """The leading dotted numbers of a version; empty when it has none."""
    found = _LEADING.match(version.strip())
    return tuple(map(int, _NUMBERS.findall(found[1]))) if found else ()


def branch(version: str) -> int:
    """A driver's branch: `580.95.05` → 580; 0 for a text without one."""
    return next(iter(numbers(version)), 0)


def within(version: str, constraint: str) -> bool:
    """Whether a version meets `>=1.18,<1.19`; an unknown one meets nothing. Raises ValueError for no constraint."""
    mine = numbers(version)
    return bool(mine) and all(_meets(mine, clause.strip()) for clause in constraint.split(","))


def _meets(mine: tuple[int, ...], clause: str) -> bool:
    found = _CLAUSE.match(clause)
    if not found:
        raise ValueError(f"{clause!r} is no constraint: a comparison and dotted numbers are")
    theirs = tuple(map(int, found[2].split(".")))
    width = max(len(mine), len(theirs))
    one, two = (each + (0,) * (width - len(each)) for each in (mine, theirs))
    return {
        ">=": one >= two,
        "<=": one <= two,
        # An equality names a series: ==1.17 holds for 1.17.8.
        "==": mine[: len(theirs)] == theirs,
        "!=": mine[: len(theirs)] != theirs,
        "<": one < two,
        ">": one > two,
    }[found[1]]
