"""The findings of all hosts, for a person and for a program."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hostplan.preflight.finding import Finding, Level

VERSION = 1
WIDTH = 150
LAST_LINE = "No change so far."
_MARKS = {Level.OK: "ok", Level.SKIPPED: "-", Level.WARNING: "WARNING", Level.REFUSED: "REFUSED"}


def as_json(findings: Mapping[str, Sequence[Finding]]) -> dict[str, Any]:
    """The report as data: `version`, `refused` and `warnings` in all, and each host's findings in their order."""
    levels = Counter(each.level for all_of in findings.values() for each in all_of)
    return {
        "version": VERSION,
        "refused": levels[Level.REFUSED],
        "warnings": levels[Level.WARNING],
        "hosts": {
            host: {
                "state": state(all_of),
                "findings": [{"check": each.check, "level": each.level.value, "text": each.text} for each in all_of],
            }
            for host, all_of in findings.items()
        },
    }


def state(findings: Sequence[Finding]) -> str:
    """The worst of a host's findings; what was left out does not count against it."""
    levels = {each.level for each in findings}
    return next((level.value for level in (Level.REFUSED, Level.WARNING) if level in levels), Level.OK.value)


def as_lines(findings: Mapping[str, Sequence[Finding]], end: str = LAST_LINE) -> list[str]:
    """The report as a table, a host after the other; what is wrong stands first. `end` says what was done by then."""
    lines = []
    for host, all_of in findings.items():
        lines += [f"{host}: {_summary(all_of)}", *_table(all_of), ""]
    return [*lines, *_totals(findings), end]


def refusals(findings: Mapping[str, Sequence[Finding]]) -> list[str]:
    """Everything of every host that stops a deployment, `host: check: found: allowed; what to do`."""
    return [
        f"{host}: {each.check}: {each.text}"
        for host, all_of in findings.items()
        for each in all_of
        if each.level is Level.REFUSED
    ]


def _table(findings: Sequence[Finding]) -> list[str]:
    order = list(Level)
    width = max((len(each.check) for each in findings), default=0)
    lines: list[str] = []
    for each in sorted(findings, key=lambda one: order.index(one.level)):
        head = f"  {_MARKS[each.level]:<8}{each.check:<{width}}  "
        lines += textwrap.wrap(each.text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head)) or [head]
    return lines


def _summary(findings: Sequence[Finding]) -> str:
    levels = Counter(each.level for each in findings)
    words = [
        f"{levels[level]} {name}{'s' if name == 'warning' and levels[level] > 1 else ''}"
        for level, name in ((Level.REFUSED, "refused"), (Level.WARNING, "warning"))
        if levels[level]
    ]
    return ", ".join(words) or f"ready ({levels[Level.OK]} checks)"


def _totals(findings: Mapping[str, Sequence[Finding]]) -> list[str]:
    states = Counter(state(all_of) for all_of in findings.values())
    names = {"ok": "ready", "warning": "with warnings", "refused": "refused"}
    words = [f"{states[name]} {text}" for name, text in names.items() if states[name]]
    return [f"{len(findings)} hosts: {', '.join(words)}"] if len(findings) > 1 else []
