"""Decisions about kernel settings as Ansible filters: each hands plain data to a function of hostplan."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# The roles run from a checkout, where hostplan lies beside roles/ and need not be installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from hostplan import tuning


def plain(value: Any) -> Any:
    """A copy in plain types: Ansible's own resolve templates only while they are read item by item."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


class FilterModule:
    """Filters of the role `host_tuning`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {
            "host_tuning_plan": lambda found, intent: tuning.plan(plain(intent), plain(found)),
            "host_tuning_sysctl_file": lambda chosen: tuning.sysctl_file(plain(chosen)),
            "host_tuning_limits_file": lambda _: tuning.limits_file(),
        }
