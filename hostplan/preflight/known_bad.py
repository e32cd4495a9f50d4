"""Pairs of versions that are known not to work together: data, and the rule that reads it.

An entry says when it holds, each component with a constraint (`>=580,<581`) or, for what is no version, its value; all
must hold. A component that a host does not have, or whose version nobody can tell, meets nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hostplan.preflight.components import Components
from hostplan.preflight.finding import Finding, ok, refused
from hostplan.preflight.versions import within

CHECK = "known-bad"
VERSIONS = ("driver", "kernel", "cuda", "toolkit", "docker", "vllm")
VALUES = ("injection", "os", "modules")


@dataclass(frozen=True, slots=True)
class KnownBad:
    """One entry of the table. `fix` is what to do, `source` where it is written."""

    id: str
    when: Mapping[str, str]
    reason: str
    fix: str
    source: str


def read(entries: Iterable[Mapping[str, Any]]) -> tuple[KnownBad, ...]:
    """The table out of parsed YAML. Raises ValueError naming an entry that could never be applied."""
    found = tuple(KnownBad(**{key: _plain(value) for key, value in entry.items()}) for entry in entries)
    for entry in found:
        unknown = set(entry.when) - {*VERSIONS, *VALUES}
        if unknown or not entry.when:
            raise ValueError(
                f"{entry.id}: {', '.join(unknown) or 'nothing'} was found in `when`: a component is needed"
            )
        for name, constraint in entry.when.items():
            if name in VERSIONS:
                within("1", constraint)
    return found


def check(sets: Iterable[Components], table: Iterable[KnownBad]) -> list[Finding]:
    """Every entry that holds for versions that will meet on a host, once each, or one line that says that none does."""
    hits = {entry.id: (entry, mine) for mine in sets for entry in table if _all_hold(mine, entry)}
    return [
        refused(CHECK, f"{_named(mine, entry)} ({entry.id})", entry.reason, f"{entry.fix} ({entry.source})")
        for entry, mine in hits.values()
    ] or [ok(CHECK, "no pair of versions that is known not to work")]


def _all_hold(mine: Components, entry: KnownBad) -> bool:
    return all(_holds(mine.found.get(name, ""), name, wanted) for name, wanted in entry.when.items())


def _holds(mine: str, name: str, wanted: str) -> bool:
    return within(mine, wanted) if name in VERSIONS else mine == wanted


def _named(mine: Components, entry: KnownBad) -> str:
    """`driver 570 (planned) with cuda 13.0`."""
    return " with ".join(
        f"{name} {mine.found[name]}{' (planned)' if name in mine.coming else ''}" for name in entry.when
    )


def _plain(value: Any) -> Any:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, Mapping) else str(value)
