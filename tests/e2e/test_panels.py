"""Every panel and every rule has data on the stack that people run, with real engines."""

from __future__ import annotations

import time

import pytest

from observe.dashboards.model import LOAD
from observe.dashboards.walk import Finding, silent, walked
from tests.e2e.conftest import Demo

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

# Long-term rules are evaluated every two minutes: a Prometheus that has just started is given that, once.
SECONDS = 240.0


def test_every_panel_and_every_rule_has_data(demo: Demo) -> None:
    """After a conversation nothing is empty but what needs hardware, a feature or a fault that this stack lacks."""
    deadline = time.monotonic() + SECONDS
    left: list[Finding] = []
    while time.monotonic() < deadline:
        turns = demo.conversation()
        next(turns)
        next(turns)
        left = silent(walked(demo.stack.prometheus), {LOAD})
        if not left:
            break
        time.sleep(2)
    assert not left, "\n".join(map(str, left))
