"""The inventories that come with the project are sound, and a wrong one gets all its messages from Ansible."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.playbooks import ansible_playbook
from tests.support.processes import ROOT
from tests.unit.stackplan.test_problems import TEN, TEN_PLACES

INVENTORIES = ["demo", "lab", "prod"]
PLAYBOOK = [
    {
        "name": "Plan",
        "hosts": "all",
        "gather_facts": False,
        "roles": ["stack"],
        "post_tasks": [
            {"name": "Count", "ansible.builtin.debug": {"msg": "{{ stack_services | length }} services"}},
        ],
    }
]


def _ansible(tmp_path: Path, inventory: Path) -> subprocess.CompletedProcess[str]:
    playbook = tmp_path / "plan.yml"
    playbook.write_text(yaml.safe_dump(PLAYBOOK, sort_keys=False))
    env = {**os.environ, "ANSIBLE_ROLES_PATH": str(ROOT / "roles"), "NO_COLOR": "1"}
    return ansible_playbook("-i", inventory, playbook, env=env)


@pytest.mark.parametrize("name", INVENTORIES)
def test_inventory_can_be_planned(name: str, tmp_path: Path) -> None:
    """Check and plan run through on every host, touch none and change nothing."""
    done = _ansible(tmp_path, ROOT / "inventories" / name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No change so far." in done.stdout
    assert "changed=0" in done.stdout
    assert "changed=1" not in done.stdout


def test_inventory_with_ten_mistakes_gets_ten_messages(tmp_path: Path) -> None:
    """All mistakes of a stack.yml stand in one failure, before the second task of any host; nothing was changed."""
    inventory = tmp_path / "inventory"
    shutil.copytree(ROOT / "inventories" / "prod", inventory, symlinks=False)
    sections = {**TEN, "stack_modles": []}
    (inventory / "group_vars" / "all" / "stack.yml").write_text(yaml.safe_dump(sections))
    done = _ansible(tmp_path, inventory)
    assert done.returncode != 0
    sentences = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("- stack_")]
    # Ansible itself shows a failure twice: as the error and as the task's result.
    assert [text[2:].split(":")[0] for text in dict.fromkeys(sentences)] == TEN_PLACES
    assert "No change so far." in done.stdout
    assert "Compute the plan" not in done.stdout
