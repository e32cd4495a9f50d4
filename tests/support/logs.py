"""Logs of running processes, read while they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a log so far, one a line, without the one that is being written.

    A write over the end of a memory page is two to whoever reads at that moment.
    """
    whole, _, _ = path.read_text("utf-8", errors="replace").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
