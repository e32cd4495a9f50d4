"""Running the project's own playbooks, as a person would."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from demo.console import Console, StepError
from demo.paths import INVENTORY, ROOT


def run(console: Console, name: str, *arguments: str) -> None:
    """Run playbooks/`name`.yml on the demo inventory; raises StepError when it fails."""
    tools = Path(sys.executable).parent
    try:
        console.stream(
            [
                str(tools / "ansible-playbook"),
                "-i",
                str(INVENTORY),
                str(ROOT / "playbooks" / f"{name}.yml"),
                *arguments,
            ],
            env={
                "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                "PYTHONUNBUFFERED": "1",
            },
        )
    except StepError as error:
        raise StepError(
            f"playbooks/{name}.yml: failed: the reason stands above, after `fatal:` or `[ERROR]`"
        ) from error
