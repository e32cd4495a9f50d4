"""Pairs of versions that are known not to work together: data, and the rule that reads it.

An entry says when it holds, each component with a constraint (`>=580,<581`) or, for what is no version, its value; all
must hold. A component that a host does not have, or whose version nobody can tell, meets nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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


def check(components: Mapping[str, str], table: Iterable[KnownBad]) -> list[Finding]:
    """Every entry that holds for what a host runs, or one line that says that none does."""
    hits = [entry for entry in table if all(_holds(components, *clause) for clause in entry.when.items())]
    return [
        refused(CHECK, f"{_named(components, entry)} ({entry.id})", entry.reason, f"{entry.fix} ({entry.source})")
        for entry in hits
    ] or [ok(CHECK, "no pair of versions that is known not to work")]


def _holds(components: Mapping[str, str], name: str, wanted: str) -> bool:
    mine = components.get(name, "")
    return within(mine, wanted) if name in VERSIONS else mine == wanted


def _named(components: Mapping[str, str], entry: KnownBad) -> str:
    return " with ".join(f"{name} {components[name]}" for name in entry.when)


def _plain(value: Any) -> Any:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, Mapping) else str(value)
