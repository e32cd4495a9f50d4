"""scripts/status where there is no Prometheus: a real router, asked through what a release says of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import ROOT, wait_until
from tests.support.stack import Stack


def test_status_shows_engines_of_a_running_router(shared: Stack, tmp_path: Path) -> None:
    """Every engine by name, state and load, as the router itself tells them: what other tests left shows in both."""
    listen = " ".join(f"{name}={at}" for name, at in shared.config["deciders"][0].items())
    (tmp_path / "current").mkdir()
    services = {"services": {"router": {"environment": {"IRONRACK_LISTEN": listen}}}}
    (tmp_path / "current" / "compose.yml").write_text(yaml.safe_dump(services))
    said = _said(tmp_path)
    assert {engine["name"] for engine in said} == {*shared.ports}
    assert all(engine["prefill_tokens_per_second"] > 0 for engine in said)
    wait_until(lambda: _states(_said(tmp_path)) == _states(_told(shared)), "both tell the same")


def _said(root: Path) -> list[dict[str, Any]]:
    run = [str(ROOT / "scripts" / "status"), "--json", "--root", str(root)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    engines: list[dict[str, Any]] = json.loads(done.stdout)["engines"]
    return engines


def _told(stack: Stack) -> list[dict[str, Any]]:
    port = int(stack.config["deciders"][0]["http"].rpartition(":")[2])
    engines: list[dict[str, Any]] = json.loads(stack.get("/admin/engines", port).body)["engines"]
    return engines


def _states(engines: list[dict[str, Any]]) -> dict[str, tuple[str, int]]:
    return {engine["name"]: (engine["state"], engine["in_flight"]) for engine in engines}
