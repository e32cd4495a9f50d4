"""What every role promises: a spec for each default, a README that agrees, and names of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
NAMES = [role.name for role in ROLES]
VERBS = {"main", "check", "config", "deploy", "drain", "verify", "remove", "plan", "stage"}


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def _options(role: Path) -> dict[str, Any]:
    specs = _yaml(role / "meta" / "argument_specs.yml")["argument_specs"]
    merged: dict[str, Any] = {}
    for entry in specs.values():
        merged |= entry.get("options", {})
    return merged


@pytest.mark.parametrize("role", ROLES, ids=NAMES)
def test_role_defaults_and_specs_agree(role: Path) -> None:
    """Every default has a spec with the same value, and every spec with a default has that default."""
    defaults = _yaml(role / "defaults" / "main.yml") or {}
    specified = {name: spec.get("default") for name, spec in _options(role).items() if not spec.get("required")}
    assert {k: v for k, v in specified.items() if v is not None or k in defaults} == defaults


@pytest.mark.parametrize("role", ROLES, ids=NAMES)
def test_role_variables_carry_the_roles_name(role: Path) -> None:
    """Public names are `<role>_<noun>[_<unit>]`, so that no two roles can share one by accident."""
    assert not [name for name in _options(role) if not name.startswith(f"{role.name}_")]


@pytest.mark.parametrize("role", ROLES, ids=NAMES)
def test_role_describes_every_variable(role: Path) -> None:
    """A variable without a description is a question for the person on call."""
    assert not [name for name, spec in _options(role).items() if not spec.get("description")]


@pytest.mark.parametrize("role", ROLES, ids=NAMES)
def test_role_task_files_are_verbs_of_the_house(role: Path) -> None:
    """Task files directly under tasks/ are the house's verbs; details of one live in a folder or carry its name."""
    files = {path.stem for path in (role / "tasks").glob("*.yml")}
    assert not {name for name in files if name.split("_")[0] not in VERBS}


def test_role_readmes_are_fresh() -> None:
    """The variable tables are generated: a spec that changed shows in the README."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "role_readmes.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _unvalidated(path: Path) -> list[str]:
    tasks = re.split(r"\n(?=\s*- name:)", path.read_text())
    return [
        f"{path.relative_to(ROOT)}: {task.strip().splitlines()[0]}"
        for task in tasks
        if "ansible.builtin.template:" in task and "validate:" not in task and "# No validator" not in task
    ]


def test_every_rendered_config_has_a_validator() -> None:
    """A template that writes a configuration is validated, or says in a comment beside it why it is not."""
    assert not [line for path in sorted((ROOT / "roles").glob("*/tasks/**/*.yml")) for line in _unvalidated(path)]
