"""The runbooks as a dashboard of texts: at three in the morning they are where the alert is, with no other server."""

from __future__ import annotations

import re
from pathlib import Path

from grafana_foundation_sdk.builders import text
from grafana_foundation_sdk.models.text import TextMode

from observe.dashboards.build import empty, written
from observe.dashboards.links import RUNBOOKS, explained, page, runbook, runbook_panel

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
_HEIGHT = 14
_DESCRIPTION = (
    "What each alert means, what users feel, what to look at, what to do. Links of alerts and panels lead here."
)


def rendered() -> str:
    """The dashboard as JSON text: a panel for each alert that has a page, in the order of their names."""
    found = empty(RUNBOOKS, "Runbooks", _DESCRIPTION)
    for alert in sorted(explained()):
        path = FOLDER / page(alert)
        if path.exists():
            shown = text.Panel().id(runbook_panel(alert)).title(alert).description(f"The runbook of {alert}.")
            found = found.with_panel(shown.mode(TextMode.MARKDOWN).content(_text(path)).span(12).height(_HEIGHT))
    return written(found)


def _text(path: Path) -> str:
    """The page without its first heading, which the panel's title is; links between pages lead to panels."""
    pages = {page(alert): runbook(alert) for alert in explained()}
    body = re.sub(r"^# .*\n+", "", path.read_text(), count=1)

    def linked(match: re.Match[str]) -> str:
        return f"[{match[1]}]({pages[match[2]]})" if match[2] in pages else f"{match[1]} (`{match[2]}`)"

    return re.sub(r"\[([^\]]+)\]\((?!https?://|/)([^)]+)\)", linked, body)
