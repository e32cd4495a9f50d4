"""The role hands dashboards on as they are: what stands in braces is for Grafana."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
PATH = "config/grafana/boards/ironrack-fleet.json"


def test_dashboards_arrive_byte_for_byte(tmp_path: Path) -> None:
    """Legends look like templates, and are none of Ansible's."""
    tasks = [
        {"ansible.builtin.include_role": {"name": "observe", "tasks_from": "config"}},
        {
            "ansible.builtin.copy": {
                "content": "{{ observe_files['" + PATH + "'] }}",
                "dest": str(tmp_path / "out.json"),
            }
        },
    ]
    variables = {"observe_boards": {PATH: "ironrack-fleet.json"}, "ansible_python_interpreter": sys.executable}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    program = Path(sys.executable).with_name("ansible-playbook")
    environment = {"ANSIBLE_ROLES_PATH": str(ROOT / "roles"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [program, "-i", "localhost,", "-c", "local", tmp_path / "play.yml"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**environment, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stdout[-3000:]
    wanted = (ROOT / "roles" / "observe" / "files" / "dashboards" / "ironrack-fleet.json").read_text()
    found = (tmp_path / "out.json").read_text()
    assert json.loads(found) == json.loads(wanted)
    assert found.strip() == wanted.strip()
    assert "{{model}}" in found
