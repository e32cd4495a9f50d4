"""Addresses: of runbooks, of dashboards, and of the panel that explains an alert."""

from __future__ import annotations

import re

RUNBOOKS = "https://github.com/ironrack/ironrack/blob/main/docs/runbooks"


def runbook(alert: str) -> str:
    """The runbook page of an alert."""
    return f"{RUNBOOKS}/{page(alert)}"


def page(alert: str) -> str:
    """The file name of an alert's runbook: EngineFrozen → engine-frozen.md."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", alert).lower() + ".md"
