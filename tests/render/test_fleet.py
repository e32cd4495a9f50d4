"""The inventories of several hosts render to files their programs accept: many engines, two models, two edges."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import stackplan
from stackplan import inventory
from stackplan.__main__ import edge_templates
from stackplan.guard import SECRETS
from stackplan.render import render
from tests.support.certificates import self_signed

ROOT = Path(__file__).resolve().parents[2]
HEADER = "# Made by a test.\n"
HOSTS = [("prod", "edge-1"), ("prod", "edge-2"), ("prod", "gpu-3"), ("lab", "lab-edge-1"), ("lab", "lab-engine-2")]


def _plan(name: str) -> dict[str, Any]:
    top = yaml.safe_load((ROOT / "inventories" / name / "hosts.yml").read_text())["all"]
    intent = yaml.safe_load((ROOT / "inventories" / name / "group_vars" / "all" / "stack.yml").read_text())
    groups = {group: list(members["hosts"]) for group, members in top["children"].items()}
    return stackplan.plan(intent, inventory.hosts(top["hosts"], {"all": list(top["hosts"]), **groups}))


def _write(name: str, host: str, folder: Path) -> set[str]:
    files = render(_plan(name), host, edge_templates(), HEADER)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        inside = text.replace("/usr/local/etc/haproxy", str(folder / "config" / "edge"))
        (folder / path).write_text(inside.replace(SECRETS, str(folder)))
    _stand_ins(name, host, folder)
    return set(files)


def _stand_ins(name: str, host: str, folder: Path) -> None:
    """What the roles put beside the releases: digests as planned, a certificate of the test's own."""
    plan = _plan(name)
    if not [service for service in plan["services"] if service["kind"] == "edge" and service["host"] == host]:
        return
    secrets = stackplan.edge_secrets(plan, host)
    for file, text in secrets["files"].items():
        (folder / file).write_text(text)
    if secrets["certificate"]:
        self_signed(folder, "edge.test").rename(folder / "tls.pem")


@pytest.mark.parametrize(("name", "host"), HOSTS)
def test_every_file_of_a_host_is_accepted_by_its_program(name: str, host: str, tmp_path: Path) -> None:
    """Compose, HAProxy and the router read what a fleet's plan gives each of its hosts."""
    files = _write(name, host, tmp_path)
    commands = {
        "compose.yml": ["docker", "compose", "-f", "compose.yml", "config", "--quiet"],
        "config/edge/haproxy.cfg": ["haproxy", "-c", "-f", "config/edge/haproxy.cfg"],
        "config/router/router.yml": [sys.executable, "-m", "router", "--check-config", "config/router/router.yml"],
    }
    for path in files & set(commands):
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(commands[path], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{path}: {done.stdout}{done.stderr}"


def test_prod_places_both_models_on_the_right_hosts() -> None:
    """The pinned model fills its two hosts; the other one's replicas share the rest, two GPUs each."""
    engines = [service for service in _plan("prod")["services"] if service["kind"] == "engine"]
    places = {service["name"]: (service["host"], service["gpus"]) for service in engines}
    assert places["engine-llama-3.3-70b-0"] == ("gpu-3", list(range(8)))
    assert places["engine-llama-3.3-70b-1"] == ("gpu-4", list(range(8)))
    assert [places[f"engine-qwen3-32b-{n}"] for n in range(4)] == [
        ("gpu-1", [0, 1]),
        ("gpu-2", [0, 1]),
        ("gpu-1", [2, 3]),
        ("gpu-2", [2, 3]),
    ]
