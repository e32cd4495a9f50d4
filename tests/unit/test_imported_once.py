"""The roles' filters are imported before Ansible forks a process for every task."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[2] / "playbooks" / "callback_plugins"


def test_the_plan_is_in_memory_before_the_first_task() -> None:
    """In a fresh process: the packages that filters use are there once the callback was made."""
    program = (
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r}); import imported_once; imported_once.CallbackModule(); "
        "missing = {'stackplan', 'hostplan', 'bundle', 'pydantic'} - set(sys.modules); "
        "sys.exit(str(missing) if missing else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
