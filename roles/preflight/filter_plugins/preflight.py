"""Preflight as Ansible filters: each hands plain data to a function of hostplan."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

# The roles run from a checkout, where hostplan lies beside roles/ and need not be installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from hostplan.plain import plain
from hostplan.preflight import components, known_bad, report, want
from hostplan.preflight.evaluate import Rules, evaluate

DATA = Path(__file__).resolve().parents[3] / "hostplan" / "data"


def questions(plan: Mapping[str, Any], host: str) -> dict[str, Any]:
    """What must be asked of a host."""
    return want.questions(plain(plan), host)


def groups(plan: Mapping[str, Any], host: str) -> list[dict[str, Any]]:
    """The GPUs that must compute together on a host."""
    return want.groups(plain(plan), host)


def reported(
    plan: Mapping[str, Any], gathered: Mapping[str, Any], at_once: int, end: str = report.LAST_LINE
) -> dict[str, Any]:
    """The report: `data`, `lines` for a person, and `refusals`. `gathered`: facts, probes and problems, by host."""
    found = plain(gathered)
    findings = evaluate(
        plain(plan),
        {host: each["facts"] for host, each in found.items()},
        rules(at_once),
        probes={host: each["probes"] for host, each in found.items()},
        problems={host: each["problems"] for host, each in found.items()},
    )
    return {
        "data": report.as_json(findings),
        "lines": report.as_lines(findings, str(end)),
        "refusals": report.refusals(findings),
    }


def rules(at_once: int = 1) -> Rules:
    """The tables that lie in hostplan/data."""
    table = known_bad.read(yaml.safe_load((DATA / "known-bad.yml").read_text()))
    cuda = components.read(yaml.safe_load((DATA / "engine-cuda.yml").read_text()))
    return Rules(table, yaml.safe_load((DATA / "xids.yml").read_text()), int(at_once), cuda)


class FilterModule:
    """Filters of the role `preflight`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {"preflight_questions": questions, "preflight_groups": groups, "preflight_report": reported}
