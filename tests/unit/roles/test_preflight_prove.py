"""A first deployment: the image comes, the GPUs compute in it, and only then an engine may start."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

from stackplan import plan
from tests.support.playbooks import ansible_playbook, bare, stand_in
from tests.support.processes import ROOT
from tests.unit.hostplan.preflight.hosts import RECORDED
from tests.unit.stackplan.stacks import intent, one_host

# There is no GPU here for Docker to give: this one notes what it is asked, and answers as a recorded host did.
DOCKER = """#!/bin/sh
echo "$1 $2" >> "$CALLS"
case "$1 $2" in
"image inspect") [ -e "$CALLS.pulled" ] ;;
"pull "*) touch "$CALLS.pulled" ;;
"run "*) tr -d '\\n' < "$ANSWER"; echo ;;
"info "*) echo '{"ServerVersion": "28.5.1"}' ;;
esac
"""


def test_site_proves_gpus_after_preparing_hosts_and_before_engines() -> None:
    """What the order is for: a host that cannot compute is found while nothing serves on it."""
    plays = yaml.safe_load((ROOT / "playbooks" / "site.yml").read_text())
    steps = [play["ansible.builtin.import_playbook"] for play in plays]
    assert steps[:4] == ["check.yml", "prepare.yml", "prove.yml", "deploy.yml"]


def _prove(folder: Path, device: str) -> tuple[str, list[str]]:
    """What `prove.yml` says of this machine, and what Docker was asked."""
    stand_in(folder, "docker", DOCKER)
    model = {"name": "qwen", "source": "/srv/qwen", **({"gpus_per_replica": 2} if device == "gpu" else {})}
    stack = plan(intent(models=[model], engines={"device": device}), one_host(2 if device == "gpu" else 0))
    known = {"stack_settings": stack["settings"], "stack_plan": stack, "preflight_plan": stack}
    variables = {**known, "ansible_python_interpreter": sys.executable, "ansible_become": False}
    (folder / "vars.yml").write_text(yaml.safe_dump(variables))
    (folder / "hosts.yml").write_text("engines: {hosts: {box: {ansible_connection: local}}}\n")
    around = bare(folder, CALLS=str(folder / "calls"), ANSWER=str(RECORDED / "h200-x2-probe.json"))
    done = ansible_playbook("-i", folder / "hosts.yml", "-e", f"@{folder}/vars.yml", "playbooks/prove.yml", env=around)
    calls = (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []
    return done.stdout + done.stderr, calls


def test_image_is_pulled_and_gpus_compute_in_it(tmp_path: Path) -> None:
    """The report has what the GPUs did; this machine has none on its bus, which is refused before an engine starts."""
    said, calls = _prove(tmp_path, "gpu")
    order = [call.split()[0] for call in calls if call.split()[0] in ("pull", "run")]
    assert order == ["pull", "run"], said
    assert "2 GPUs compute (CUDA 13.0" in said
    assert re.search(r"REFUSED +gpus +0 NVIDIA GPUs on the PCI bus", said)
    assert "no engine was started or changed" in said
    assert "No change so far" not in said


def test_stack_without_gpus_has_nothing_to_prove(tmp_path: Path) -> None:
    """The CPU demo: Docker is not even asked."""
    said, calls = _prove(tmp_path, "cpu")
    assert "failed=0" in said, said
    assert calls == []
