"""Ansible action: the controller's half of `bundle_files`: ask what differs, send that, have it put in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Sends only what differs, one file after the other, through whatever connection the host has."""

    TRANSFERS_FILES = False  # no temporary folder in somebody's home: weights may not fit there

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Compare, send, place; in check mode compare alone."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        first = self._execute_module(module_name="bundle_files", module_args=arguments, task_vars=task_vars)
        if first.get("failed") or self._task.check_mode or not first.get("differing"):
            return dict(first)
        source, root = Path(arguments["source"]), str(arguments["root"])
        for number, name in enumerate(first["differing"]):
            self._connection.put_file(str(source / name), f"{root}/.incoming/{number}")
        placed = {**arguments, "step": "place", "arrived": first["differing"]}
        last = dict(self._execute_module(module_name="bundle_files", module_args=placed, task_vars=task_vars))
        if not last.get("failed"):
            last |= {"changed": True, "brought": first["differing"], "differing": first["differing"]}
        return last
