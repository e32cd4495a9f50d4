"""The engines' key: a file only root reads, in no output, no difference and no rendered file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
KEY = "sk-0123456789abcdef"


def _play(folder: Path, *tasks: dict[str, object], **variables: object) -> subprocess.CompletedProcess[str]:
    """Run tasks of the role on this machine, as loudly as can be."""
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": list(tasks)}
    path = folder / "play.yml"
    path.write_text(yaml.safe_dump([play]))
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [program, "-i", "localhost,", "-c", "local", "--diff", "-vvv", path],
        capture_output=True,
        text=True,
        check=False,
        env={
            "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
        },
        cwd=ROOT,
    )


def _role(tasks_from: str) -> dict[str, object]:
    return {"ansible.builtin.include_role": {"name": "engine", "tasks_from": tasks_from}}


def test_key_is_written_once_and_shown_nowhere(tmp_path: Path) -> None:
    """Mode 0600, not a word of it in the most talkative output, and a second run changes nothing."""
    (tmp_path / "key.txt").write_text(KEY)
    path = tmp_path / "secrets" / "engine.env"
    read = "{{ lookup('ansible.builtin.file', '" + str(tmp_path / "key.txt") + "') }}"
    interpreter = {"ansible_python_interpreter": sys.executable}
    for changed in (2, 0):
        done = _play(tmp_path, _role("deploy_key"), engine_api_key=read, engine_api_key_file=str(path), **interpreter)
        assert re.search(rf"changed={changed}\s+unreachable=0\s+failed=0", done.stdout), done.stdout[-3000:]
        assert KEY not in done.stdout + done.stderr
    assert path.read_text() == f"VLLM_API_KEY={KEY}\n"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("key", "problems"), [("", 1), ("short", 1), ("with space 0123456789", 1), (KEY, 0)])
def test_missing_or_odd_key_is_told_before_any_change(tmp_path: Path, key: str, problems: int) -> None:
    """A plan that counts on a key needs one; what was found instead is not repeated."""
    check: dict[str, object] = {"ansible.builtin.assert": {"that": f"__engine_key_problems | length == {problems}"}}
    variables = yaml.safe_load((ROOT / "roles/engine/vars/main.yml").read_text())
    done = _play(
        tmp_path,
        check,
        engine_api_key=key,
        engine_api_key_required=True,
        __engine_key_problems=variables["__engine_key_problems"],
    )
    assert "failed=0" in done.stdout, done.stdout[-3000:]
