"""XIDs: what the driver writes into the kernel's log when a GPU fails, and which of them leave it unusable.

Form of a line: https://docs.nvidia.com/deploy/xid-errors/working-with-xid-errors.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hostplan.preflight.smi import slot

_LINE = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]+)\): (\d+)(?:, (.*))?")
RECOVERY = 154
_NOTHING_TO_DO = re.compile(r"to 0x0\b|\(None\)\s*$")


@dataclass(frozen=True, slots=True)
class Xid:
    """One error: where, which, the driver's words, and why it is fatal (empty: it is not)."""

    slot: str
    number: int
    text: str
    fatal: str


def parse(line: str, fatal: Mapping[int, str]) -> Xid | None:
    """A line of the kernel's log, None when it tells of no XID."""
    found = _LINE.search(line)
    if not found:
        return None
    number, text = int(found[2]), (found[3] or "").strip()
    why = fatal.get(number, "")
    if number == RECOVERY and not _NOTHING_TO_DO.search(text):
        why = "the driver asks for a reset or a reboot"
    return Xid(slot(found[1]), number, text, why)


def parse_all(lines: Iterable[str], fatal: Mapping[int, str]) -> list[Xid]:
    """Every XID of a log, in its order."""
    return [found for line in lines if (found := parse(line, fatal))]
