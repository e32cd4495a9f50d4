"""What verify.yml says in the end: every host on a line or two, what is wrong in words, what fires with its page."""

from __future__ import annotations

from typing import Any

from roles.stack.filter_plugins.verified import failure, firing, summary


def alert(name: str, severity: str, state: str = "firing") -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "severity": severity, "engine": "engine-a", "host": "box"},
        "annotations": {"summary": "it hangs", "runbook_url": f"https://docs/{name}.md"},
        "state": state,
        "activeAt": "2026-11-22T02:59:00.123Z",
    }


def test_alert_that_fires_is_one_line_with_its_page() -> None:
    """Severity, name, where, since when, what, and where to read on."""
    found = [alert("EngineFrozen", "critical"), alert("Watchdog", "none"), alert("X", "critical", "pending")]
    assert firing(found, ["critical", "warning"]) == [
        "critical EngineFrozen engine-a box since 2026-11-22T02:59:00: it hangs (https://docs/EngineFrozen.md)"
    ]
    assert firing(found, ["warning"]) == []


def test_failure_of_a_loop_names_the_items_that_failed() -> None:
    """Not `One or more items failed`: what each of them said, once, with the address that was asked."""
    results = [{"failed": False, "msg": "fine"}, {"failed": True, "msg": "Status 503", "url": "http://a"}]
    assert failure({"msg": "One or more items failed", "results": results}, "box", "edge") == (
        "edge: Status 503 (http://a)"
    )
    assert failure({"msg": "box: edge: the second\n  must go home"}, "box", "edge") == "edge: the second must go home"
    assert failure({}, "box", "edge") == "edge: failed without a word"


def test_summary_has_a_line_for_each_part_and_the_verdict_last() -> None:
    """A part that failed has no line of its own but its problem; alerts of two observers are told once."""
    grave = "critical EngineFrozen"
    hostvars = {
        "box": {
            "compose_verified": "release abc:\n 2 services",
            "router_verified": "1 deciding",
            "observe_firing": [grave],
        },
        "other": {"compose_verified": "fine", "observe_firing": [grave], "verify_problems": ["edge: no answer"]},
        "idle": {},
    }
    assert summary(hostvars, ["box", "other", "idle"]) == [
        "box: compose: release abc: 2 services",
        "box: router: 1 deciding",
        "other: compose: fine",
        "other: WRONG: edge: no answer",
        "idle: nothing was asked",
        "fires: critical EngineFrozen",
        "all 3 hosts: 1 to look at",
    ]
    assert summary({"box": {"compose_verified": "fine"}}, ["box"])[-1] == "all 1 hosts: everything works"
