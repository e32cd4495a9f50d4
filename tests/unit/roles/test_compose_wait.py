"""Waiting for containers: hopeless ones end it at once and are named with their first error."""

from __future__ import annotations

import json

import pytest

from roles.compose.library import compose_wait as waiting
from roles.compose.library.compose_wait import Seen

TRACE = """INFO starting
Traceback (most recent call last):
  File "/app/main.py", line 1, in <module>
ModuleNotFoundError: No module named 'x'
ERROR giving up
"""


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        pytest.param(Seen("running", "healthy", 0, 0), "ready", id="healthy"),
        pytest.param(Seen("running", "", 0, 0), "ready", id="no-health-check"),
        pytest.param(Seen("running", "starting", 0, 0), "starting", id="loading"),
        pytest.param(Seen("restarting", "", 2, 1), "starting", id="few-restarts"),
        pytest.param(Seen("restarting", "", 3, 137), "started 4 times, the last time it ended with 137", id="loop"),
        pytest.param(Seen("exited", "", 0, 2), "ended with 2", id="ended"),
        pytest.param(Seen("running", "unhealthy", 0, 0), "runs but its health check fails", id="unhealthy"),
        pytest.param(None, "there is no such container", id="absent"),
    ],
)
def test_verdict_tells_slow_from_hopeless(seen: Seen | None, words: str) -> None:
    """Only what cannot become healthy any more ends the wait."""
    assert waiting.verdict(seen, restarts=2) == words


def test_report_names_the_first_error_and_not_its_frame() -> None:
    """The line that says what happened, not the one that says a report follows, nor a later echo."""
    assert waiting.first_error(TRACE) == "ModuleNotFoundError: No module named 'x'"


def test_summary_tells_of_the_broken_container_and_only_names_the_waiting_one() -> None:
    """A router that waits for a dead engine is no second failure."""
    text = waiting.summary({"engine": "ended with 1", "router": "starting"}, 3.0, lambda _: TRACE)
    assert text.startswith("engine: ended with 1; first error: ModuleNotFoundError")
    assert text.endswith("still starting: router")


def test_summary_tells_of_every_late_container_when_time_is_up() -> None:
    """Without a culprit each late one is shown with its log."""
    text = waiting.summary({"a": "starting", "b": "ready"}, 60.0, lambda _: "")
    assert text == "a: not ready after 60 s; it logged nothing"


def test_parse_reads_what_docker_prints() -> None:
    """Containers without a health check have no Health key."""
    state = {"Status": "running", "ExitCode": 0}
    rows = [{"Name": "/a", "RestartCount": 1, "State": state}]
    assert waiting.parse(json.dumps(rows)) == {"a": Seen("running", "", 1, 0)}
    assert waiting.parse("") == {}
