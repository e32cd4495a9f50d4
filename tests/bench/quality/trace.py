"""A recorded conversation trace as traffic: JSON lines with `timestamp` (ms), lengths, and `hash_ids` of 512 tokens."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.bench.errors import BenchError
from tests.bench.quality.traffic import Session, Traffic, Turn
from tests.engines.scheduler import Speed

BLOCK = 512
_SPEED = Speed(prefill_rate=16_000.0, decode_seconds=0.02, decode_growth=0.02, step_tokens=2_048, batch=256)
_CACHE = 2_000_000
_FASTER = 1.8
_WINDOW = 3_000
_WINDOWS_APART = 4_000


def conversation(path: Path, seed: int, scale: float) -> Traffic:
    """A window of 3,000 requests, another one for each seed, 1.8 times as fast as recorded.

    The trace names no sessions: a request continues the one that first had the deepest block it repeats.
    """
    first = seed % 3 * _WINDOWS_APART
    rows = read(path)[first : first + round(_WINDOW * scale)]
    begin = rows[0]["timestamp"]
    sessions = [_request(row, name, begin) for row, name in zip(rows, named(rows), strict=True)]
    return Traffic("conversation", sessions, BLOCK, _CACHE, _SPEED)


def read(path: Path) -> list[dict[str, Any]]:
    """Every request of the trace. Raises BenchError."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt") as lines:
            return [json.loads(line) for line in lines]
    except (OSError, ValueError) as problem:
        raise BenchError(f"{path}: {problem}: a trace of JSON lines with hash_ids is needed; give --trace") from problem


def named(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The session of each request. A block's id stands for all before it too; the first block is many sessions'."""
    owners: dict[int, str] = {}
    names = []
    for number, row in enumerate(rows):
        ids = row["hash_ids"]
        name = next((owners[block] for block in reversed(ids[1:]) if block in owners), f"session-{number}")
        for block in ids[1:]:
            owners.setdefault(block, name)
        names.append(name)
    return names


def _request(row: dict[str, Any], name: str, begin: float) -> Session:
    tokens = max(int(row["input_length"]), 1)
    turn = Turn(tokens, max(int(row["output_length"]), 1))
    whole = tuple(row["hash_ids"][: tokens // BLOCK])
    return Session(name, (row["timestamp"] - begin) / 1000 / _FASTER, [turn], whole)
