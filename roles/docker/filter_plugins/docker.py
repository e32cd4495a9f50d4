"""Decisions about daemon.json as Ansible filters: each hands plain data to a function of hostplan."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# The roles run from a checkout, where hostplan lies beside roles/ and need not be installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from hostplan import daemon


def plain(value: Any) -> Any:
    """A copy in plain types: Ansible's own resolve templates only while they are read item by item."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


class FilterModule:
    """Filters of the role `docker`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {
            "docker_settings_plan": lambda found, intent, where: daemon.plan(plain(intent), plain(found), str(where)),
        }
