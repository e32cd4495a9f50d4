"""Addresses: of runbooks, of dashboards, and of the panel that explains an alert."""

from __future__ import annotations

import re
from functools import cache

from observe.dashboards.boards import BOARDS
from observe.dashboards.model import Board, Panel

RUNBOOKS = "https://github.com/ironrack/ironrack/blob/main/docs/runbooks"


def runbook(alert: str) -> str:
    """The runbook page of an alert."""
    return f"{RUNBOOKS}/{page(alert)}"


def page(alert: str) -> str:
    """The file name of an alert's runbook: EngineFrozen → engine-frozen.md."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", alert).lower() + ".md"


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
