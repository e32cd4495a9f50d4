"""The role hands dashboards on as they are: what stands in braces is for Grafana."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.playbooks import play, role
from tests.support.processes import ROOT

PATH = "config/grafana/boards/ironrack-fleet.json"


def test_dashboards_arrive_byte_for_byte(tmp_path: Path) -> None:
    """Legends look like templates, and are none of Ansible's."""
    tasks = [
        role("observe", "config"),
        {
            "ansible.builtin.copy": {
                "content": "{{ observe_files['" + PATH + "'] }}",
                "dest": str(tmp_path / "out.json"),
            }
        },
    ]
    done = play(tmp_path, tasks, {"observe_boards": {PATH: "ironrack-fleet.json"}})
    assert done.returncode == 0, done.stdout[-3000:]
    wanted = (ROOT / "roles" / "observe" / "files" / "dashboards" / "ironrack-fleet.json").read_text()
    found = (tmp_path / "out.json").read_text()
    assert json.loads(found) == json.loads(wanted)
    assert found.strip() == wanted.strip()
    assert "{{model}}" in found
