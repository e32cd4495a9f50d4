"""The decisions of hostplan as Ansible filters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

# The roles run from a checkout, where hostplan lies beside roles/ and need not be installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

import hostplan
from hostplan import table
from hostplan.plain import plain


def decided(state: Mapping[str, Any], facts: Mapping[str, Any], intent: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of one host; `facts` are Ansible's, or those a recording carries."""
    seen = hostplan.State.of(plain(state), plain(facts))
    return hostplan.as_dict(hostplan.plan(seen, hostplan.Intent.of(plain(intent))))


def row(plan: Mapping[str, Any], host: str, facts: Mapping[str, Any], version: str, toolkit: str) -> dict[str, Any]:
    """One host's line of the table."""
    return table.row(plain(plan), str(host), hostplan.Platform.of(plain(facts)), str(version), str(toolkit))


def rows(plans: Iterable[Mapping[str, Any]]) -> str:
    """A table of plans with the details below it."""
    listed = plain(list(plans))
    return f"{table.table(listed)}\n\n{table.details(listed)}"


class FilterModule:
    """Filters of the role `gpu_driver`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {"gpu_driver_plan": decided, "gpu_driver_row": row, "gpu_driver_table": rows}
