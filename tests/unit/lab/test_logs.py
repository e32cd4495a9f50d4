"""Reading a log that somebody writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.logs import json_lines

LINE = '{"id":"whole","model":"tiny"}\n'


@pytest.mark.parametrize("begun", ["", "{", '{"id":"half","model":', '{"id":"half","model":"tiny"}'])
def test_line_that_is_being_written_is_not_read_yet(tmp_path: Path, begun: str) -> None:
    """Half a line is no broken line: it is whole at the next look."""
    log = tmp_path / "edge.log"
    log.write_text(f"[NOTICE] a new worker\n{LINE}{begun}")
    assert json_lines(log) == [{"id": "whole", "model": "tiny"}]
