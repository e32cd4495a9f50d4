"""scripts/status where there is no Prometheus: a real router, asked through what a release says of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from tests.support.processes import ROOT
from tests.support.stack import Stack


def test_status_shows_engines_of_a_running_router(shared: Stack, tmp_path: Path) -> None:
    """Every engine by name and state, straight from the router's own numbers."""
    listen = " ".join(f"{name}={at}" for name, at in shared.config["deciders"][0].items())
    (tmp_path / "current").mkdir()
    services = {"services": {"router": {"environment": {"IRONRACK_LISTEN": listen}}}}
    (tmp_path / "current" / "compose.yml").write_text(yaml.safe_dump(services))
    run = [str(ROOT / "scripts" / "status"), "--json", "--root", str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {engine["name"]: engine["state"] for engine in said["engines"]} == dict.fromkeys(shared.ports, "ready")
    assert {engine["in_flight"] for engine in said["engines"]} == {0}
    assert all(engine["prefill_tokens_per_second"] > 0 for engine in said["engines"])
