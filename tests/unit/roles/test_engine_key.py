"""The engines' key: a file only root reads, in no output, no difference and no rendered file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.support.playbooks import play, role
from tests.support.processes import ROOT

KEY = "sk-0123456789abcdef"


def test_key_is_written_once_and_shown_nowhere(tmp_path: Path) -> None:
    """Mode 0600, not a word of it in the most talkative output, and a second run changes nothing."""
    (tmp_path / "key.txt").write_text(KEY)
    path = tmp_path / "secrets" / "engine.env"
    read = "{{ lookup('ansible.builtin.file', '" + str(tmp_path / "key.txt") + "') }}"
    variables = {"engine_api_key": read, "engine_api_key_file": str(path)}
    for changed in (2, 0):
        done = play(tmp_path, [role("engine", "deploy_key")], variables, "--diff", "-vvv")
        assert re.search(rf"changed={changed}\s+unreachable=0\s+failed=0", done.stdout), done.stdout[-3000:]
        assert KEY not in done.stdout + done.stderr
    assert path.read_text() == f"VLLM_API_KEY={KEY}\n"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("key", "problems"), [("", 1), ("short", 1), ("with space 0123456789", 1), (KEY, 0)])
def test_missing_or_odd_key_is_told_before_any_change(tmp_path: Path, key: str, problems: int) -> None:
    """A plan that counts on a key needs one; what was found instead is not repeated."""
    check = {"ansible.builtin.assert": {"that": f"__engine_key_problems | length == {problems}"}}
    found = yaml.safe_load((ROOT / "roles/engine/vars/main.yml").read_text())["__engine_key_problems"]
    variables = {"engine_api_key": key, "engine_api_key_required": True, "__engine_key_problems": found}
    done = play(tmp_path, [check], variables, "--diff", "-vvv")
    assert "failed=0" in done.stdout, done.stdout[-3000:]
