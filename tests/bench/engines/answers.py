"""What the lines of an event stream say, and what is kept of one turn."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_DATA = b"data:"
_TEXTS = ("content", "reasoning_content", "reasoning")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a stream: text that was generated, that it is over, or what went wrong."""

    text: str = ""
    done: bool = False
    wrong: str = ""


@dataclass(slots=True)
class Turn:
    """One question and its answer. Times are seconds since the run began; `gaps` lie between events with text."""

    begun: float
    first: float = 0.0
    ended: float = 0.0
    gaps: list[float] = field(default_factory=list)
    wrong: str = ""


def event(line: bytes) -> Event:
    """Read one line; those between events and comments say nothing."""
    if not line.startswith(_DATA):
        return Event()
    data = line[len(_DATA) :].strip()
    if data == b"[DONE]":
        return Event(done=True)
    try:
        said = json.loads(data)
    except ValueError:
        return Event(wrong=f"an event that is no JSON: {data[:80]!r}")
    if not isinstance(said, dict):
        return Event(wrong=f"an event that is no object: {data[:80]!r}")
    return Event(wrong=f"an event says: {said['error']}"[:200]) if "error" in said else Event(_text(said))


def _text(said: dict[str, Any]) -> str:
    choices: Sequence[dict[str, Any]] = said.get("choices") or ()
    delta = choices[0].get("delta") or {} if choices else {}
    return "".join(delta.get(name) or "" for name in _TEXTS)
