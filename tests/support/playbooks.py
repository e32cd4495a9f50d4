"""Playbooks and tasks of roles, run on this machine as a person runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import ROOT


def ansible_playbook(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """What it did and said, started in the repository's root; `env`: all that it finds around itself."""
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run([program, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def play(
    folder: Path,
    tasks: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any],
    *options: str,
    host: str = "localhost",
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run tasks on this machine, which the play knows as `host`; the files of the run are in `folder`."""
    book, known = folder / "play.yml", folder / "vars.yml"
    book.write_text(yaml.safe_dump([{"hosts": host, "gather_facts": False, "tasks": [*tasks]}]))
    known.write_text(yaml.safe_dump({"ansible_python_interpreter": sys.executable, **variables}))
    around = env or bare(folder)
    return ansible_playbook("-i", f"{host},", "-c", "local", *options, "-e", f"@{known}", book, env=around)


def role(name: str, tasks_from: str) -> dict[str, Any]:
    """A task: tasks of a role."""
    return {"ansible.builtin.include_role": {"name": name, "tasks_from": tasks_from}}


def bare(folder: Path, **more: str) -> dict[str, str]:
    """An environment without this user's own; programs in the folder's `bin` come before those of the machine."""
    path = f"{folder}/bin:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "LC_ALL": "C.UTF-8", "ANSIBLE_ROLES_PATH": str(ROOT / "roles"), **more}


def stand_in(folder: Path, name: str, text: str) -> None:
    """A program in the folder's `bin`."""
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(text)
    program.chmod(0o755)
