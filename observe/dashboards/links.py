"""Addresses inside Grafana: of runbooks, and of the panel that explains an alert."""

from __future__ import annotations

import re
import zlib
from functools import cache

from observe.dashboards.boards import BOARDS
from observe.dashboards.model import Board, Panel

RUNBOOKS = "ironrack-runbooks"


def runbook(alert: str) -> str:
    """Where in Grafana the runbook of an alert is: a site may have no other place to read it."""
    return f"/d/{RUNBOOKS}?viewPanel={runbook_panel(alert)}"


def runbook_panel(alert: str) -> int:
    """The number of an alert's runbook among the panels: it follows from the name, so that others do not move it."""
    return zlib.crc32(alert.encode()) % 1_000_000 + 1


def page(alert: str) -> str:
    """The file name of an alert's runbook: EngineFrozen → engine-frozen.md."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower() + ".md"


@cache
def explained() -> dict[str, tuple[Board, Panel]]:
    """The panel that explains each alert."""
    return {alert: (board, panel) for board in BOARDS for panel in board.panels for alert in panel.alerts}


def panel_path(alert: str) -> str:
    """Where in Grafana an alert is explained, as an annotation: its labels choose what is shown; "" for no panel."""
    found = explained().get(alert)
    if found is None:
        return ""
    board, panel = found
    # An alert without the label leaves the choice empty, which Grafana reads as its default: all.
    chosen = "".join(
        f"{{{{ with $labels.{each.name} }}}}&var-{each.name}={{{{ . }}}}{{{{ end }}}}" for each in board.variables
    )
    return f"/d/{board.uid}?viewPanel={panel.id}{chosen}"
