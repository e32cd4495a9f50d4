"""Pairs of versions that do not work: the rule, and every entry of the table that comes with the project."""

from __future__ import annotations

import re

import pytest

from hostplan.preflight import known_bad
from hostplan.preflight.components import Components
from hostplan.preflight.versions import branch, numbers, within
from roles.preflight.filter_plugins.preflight import rules

TABLE = rules().known_bad
GOOD = {
    "driver": "580.95.05",
    "kernel": "6.8.0-87-generic",
    "os": "ubuntu",
    "modules": "open",
    "cuda": "13.0.1",
    "toolkit": "1.18.1",
    "docker": "28.5.1",
    "injection": "cdi",
    "vllm": "v0.29.0",
}


@pytest.mark.parametrize(
    ("version", "constraint", "holds"),
    [
        ("580.95.05", ">=580", True),
        ("575.57.08", ">=580", False),
        ("6.8.0-51-generic", ">=6.8,<6.9", True),
        ("v0.29.0", "<0.30", True),
        ("1.17.8", "<1.17.8", False),
        ("1.17.8-1", "==1.17", True),
        ("28.5.1", "==28.5.1", True),
        ("20.10.24+dfsg1", "<25", True),
        ("", "<25", False),
        ("none", "!=1", False),
    ],
)
def test_a_version_is_compared_number_by_number(version: str, constraint: str, holds: bool) -> None:
    """As numbers, not as text; what is not known meets nothing."""
    assert within(version, constraint) is holds


def test_versions_are_read_as_people_write_them() -> None:
    """Leading dotted numbers count."""
    assert numbers("v0.29.0rc1") == (0, 29, 0)
    assert branch("580.95.05") == 580
    assert branch("") == 0


def test_a_good_host_meets_no_entry() -> None:
    """The versions this project is made with are not refused."""
    (found,) = known_bad.check([Components(GOOD)], TABLE)
    assert found.level == "ok"


BAD = {
    "cuda13-old-driver": {"driver": "570.124.06"},
    "cuda12-old-driver": {"cuda": "12.9.1", "driver": "470.82.01"},
    "toolkit-escape": {"toolkit": "1.17.4"},
    "toolkit-1.19.1-cuinit": {"toolkit": "1.19.1"},
    "docker-without-cdi": {"docker": "20.10.24+dfsg1"},
    "vllm-0.15-compat-libraries": {"vllm": "v0.15.1", "cuda": "12.9.1"},
    "driver-575-trixie": {"driver": "575.51.03", "kernel": "6.12.41+deb13-amd64", "os": "debian", "cuda": "12.9.1"},
    "driver-550-kernel-6.17": {"driver": "550.163.01", "kernel": "6.17.13", "cuda": "12.9.1"},
    "driver-565-kernel-6.13": {"driver": "565.77", "kernel": "6.13.2", "cuda": "12.9.1"},
}


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.id)
def test_every_entry_refuses_its_pair_and_says_why_and_what_to_do(entry: known_bad.KnownBad) -> None:
    """Exactly that entry, with reason, fix and an address to read on."""
    (found,) = known_bad.check([Components({**GOOD, **BAD[entry.id]})], TABLE)
    assert found.level == "refused"
    assert all(text in found.text for text in (entry.id, entry.reason, entry.fix, entry.source))
    assert re.match(r"https://\S+$", entry.source)


def test_a_component_that_a_host_does_not_have_meets_nothing() -> None:
    """A host without GPUs has no driver that could be too old."""
    (found,) = known_bad.check([Components({"docker": "20.10.24", "kernel": "6.17.1"})], TABLE)
    assert found.level == "ok"


@pytest.mark.parametrize("when", [{}, {"drivr": "<5"}, {"driver": "old"}])
def test_an_entry_that_can_never_hold_is_no_entry(when: dict[str, str]) -> None:
    """A misspelt component would protect nobody."""
    entry = {"id": "x", "when": when, "reason": "", "fix": "", "source": ""}
    with pytest.raises(ValueError, match=r"x|old"):
        known_bad.read([entry])
