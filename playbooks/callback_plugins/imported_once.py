"""What the roles' filters import, imported once before the first task.

Every task runs in a process of its own that is forked from this one and forgotten with all it imported: the plan's
models alone take about a second of a core. Forked with them, a task finds them there.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ansible.plugins.callback import CallbackBase

ROLES = Path(__file__).resolve().parents[2] / "roles"


def import_filters(roles: Path = ROLES) -> list[str]:
    """Run every file of filters once, for what it imports; returns the roles. Raises what an import raises."""
    files = sorted(roles.glob("*/filter_plugins/*.py"))
    for path in files:
        spec = importlib.util.spec_from_file_location(f"_imported_once_{path.stem}", path)
        if spec and spec.loader:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return [path.parts[-3] for path in files]


class CallbackModule(CallbackBase):
    """Hears nothing and says nothing. Where an import fails Ansible warns, and the filter itself will say why."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "imported_once"

    def __init__(self) -> None:
        super().__init__()
        import_filters()
