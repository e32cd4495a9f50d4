"""Plans of many hosts as text for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hostplan.platforms import Platform

COLUMNS = ("host", "system", "GPUs", "driver", "modules", "fabric", "toolkit", "reboot", "verdict")


def row(plan: Mapping[str, Any], host: str, platform: Platform, version: str, toolkit: str) -> dict[str, Any]:
    """The cells of one host, and what `details` prints of it."""
    cells = {"host": host, "system": platform.name, "GPUs": plan["hardware"], "fabric": plan["fabric"]}
    driver = {
        "driver": version,
        "modules": plan["modules"],
        "reboot": "yes" if plan["reboot"] else "no",
        "toolkit": toolkit,
    }
    return {**plan, **cells, **(driver if plan["modules"] else {}), "verdict": plan["verdict"]}


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Columns as wide as their widest cell; cells that are not there are `-`."""
    cells = [COLUMNS, *(tuple(str(row.get(name) or "-") for name in COLUMNS) for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def details(rows: Iterable[Mapping[str, Any]]) -> str:
    """For each host that something happens to: packages, what goes, what stands in the way."""
    return "\n".join(line for row in rows for line in _host(row))


def _host(row: Mapping[str, Any]) -> list[str]:
    parts = [
        ("install", row.get("install")),
        ("remove first", row.get("remove")),
        ("toolkit", row.get("toolkit_packages")),
    ]
    lines = [f"  {name}: {' '.join(value)}" for name, value in parts if value]
    lines += [f"  {row['reason']}"] if row.get("reason") else []
    lines += [f"  refused: {problem}" for problem in row.get("problems", ())]
    return [f"{row['host']}:", *lines] if lines else []
