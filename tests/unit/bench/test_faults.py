"""What the fault benchmark counts."""

from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.bench.errors import BenchError
from tests.bench.faults import stage
from tests.bench.faults.cases import cases
from tests.bench.faults.run import EJECTED_SECONDS, seen, table
from tests.support.lab import Lab
from tests.support.load import End, Load, Outcome
from tests.support.processes import free_ports


def _turn(end: End, error: str = "", status: int = 200) -> Outcome:
    return Outcome("s", 0, end, status, "engine-1", "home", 0.0, 0.5, 1.0, 10, 5, error)


def test_failed_and_cut_are_told_apart() -> None:
    """Before the first byte and after it, with what the failed ones were told."""
    found = seen("case", [_turn("ok"), _turn("cut"), _turn("failed", "gone"), _turn("failed", status=503)])
    assert (found.requests, found.failed, found.cut, found.slowest) == (4, 2, 1, 0.5)
    assert sorted(found.failures) == ["1 times gone", "1 times status 503"]


def test_every_promise_has_a_case() -> None:
    """Router, engine and edge, drains and keep-alive races."""
    names = " ".join(cases(1.0))
    assert all(word in names for word in ("killed", "stopped", "upgraded", "frozen", "reloaded", "drain", "pauses"))


def test_an_engine_that_stayed_too_long_is_not_what_was_promised() -> None:
    """Even if no request failed; the time is shown where the case is about it, and nowhere else."""
    soon, late = EJECTED_SECONDS - 0.1, EJECTED_SECONDS + 0.1
    found = [seen("none", [_turn("ok")]), seen("soon", [_turn("ok")], "", soon), seen("late", [_turn("ok")], "", late)]
    shown = [tuple(row[-2:]) for row in table(found).rows]
    assert shown == [("", "reached"), (f"{soon:.1f}", "reached"), (f"{late:.1f}", "**not reached**")]


async def test_a_case_whose_engines_do_not_come_back_is_not_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer engines than it says, what it counts is no answer."""
    monkeypatch.setattr(stage, "_PATIENCE", 0.0)
    [port] = free_ports(1)
    async with ClientSession() as client:
        lab = Lab(Path("nowhere"), {"routers": [{"admin_url": f"http://127.0.0.1:{port}"}]}, client)
        with pytest.raises(BenchError, match="every engine is ready"):
            await stage.Stage(lab, Load(client, "", ""), [], 1).ready()
