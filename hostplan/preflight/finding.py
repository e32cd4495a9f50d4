"""What a check found: one line of the report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is, worst first. Only `refused` stops a deployment."""

    REFUSED = "refused"
    WARNING = "warning"
    SKIPPED = "skipped"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is what was looked at; `text` is short where all is well, a sentence of the house where it is not."""

    check: str
    level: Level
    text: str


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, text)


def skipped(check: str, text: str) -> Finding:
    """It could not be looked at, or has no meaning here."""
    return Finding(check, Level.SKIPPED, text)


def warning(check: str, found: str, allowed: str, remedy: str) -> Finding:
    """A deployment may go on."""
    return Finding(check, Level.WARNING, f"{found}: {allowed}; {remedy}")


def refused(check: str, found: str, allowed: str, remedy: str) -> Finding:
    """A deployment must not."""
    return Finding(check, Level.REFUSED, f"{found}: {allowed}; {remedy}")
