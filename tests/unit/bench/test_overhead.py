"""What the overhead benchmark sends, and how it compares."""

import json
from pathlib import Path

import pytest

from tests.bench.overhead.measured import Measurement
from tests.bench.overhead.subjects import Wanted, prepare
from tests.bench.overhead.tables import paired
from tests.bench.overhead.workloads import WORKLOADS, Workload, request


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: one.name)
def test_bodies_are_what_their_title_says(workload: Workload) -> None:
    """Valid JSON, of the announced size within 1 %, with the model last where that is the point."""
    body = json.loads(workload.body)
    size = 100_000 if workload.name == "W4" else 1_000
    assert abs(len(workload.body) - size) <= size * 0.01
    assert body["model"] == "bench"
    assert (list(body)[-1] == "model") == (workload.name == "W4")
    assert body.get("stream", False) == bool(workload.chunks)
    assert body.get("max_tokens", 0) == workload.chunks


def test_request_announces_its_length_and_session() -> None:
    """A raw request is complete."""
    raw = request(b"{}", "s-1")
    assert b"\r\ncontent-length: 2\r\n\r\n{}" in raw
    assert b"\r\nx-session-id: s-1\r\n" in raw


def _measured(subject: str, repeat: int, **parts: float) -> Measurement:
    return Measurement(subject, "W1", repeat, 1_000, 0, 1_000.0, parts)


def test_ratios_are_taken_repeat_by_repeat() -> None:
    """What slows the machine for one repeat slows both: pairs are compared, not medians."""
    ours = [_measured("ironrack", 0, edge=10, router=10), _measured("ironrack", 1, edge=30, router=30)]
    theirs = [_measured("peer", 0, router=40), _measured("peer", 1, router=100)]
    found = paired([*ours, *theirs], "W1", "ironrack", "peer")
    assert found is not None
    assert (found.low, found.high, found.repeats) == (0.5, 0.6, 2)
    assert paired(ours, "W1", "ironrack", "peer") is None


def test_no_subject_is_started_from_anothers_file(tmp_path: Path) -> None:
    """All of them lie in one folder, and HAProxy's name is common."""
    files = {
        subject.name: {word for batch in subject.commands for one in batch for word in one.argv if ".cfg" in word}
        for subject in prepare(Wanted(), tmp_path).subjects
    }
    assert files["haproxy"]
    assert files["ironrack"]
    assert not files["haproxy"] & files["ironrack"]
    assert all("Managed by Ironrack" in Path(path).read_text() for path in files["ironrack"])
