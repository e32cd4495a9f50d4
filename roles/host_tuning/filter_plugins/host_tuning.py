"""Decisions about kernel settings as Ansible filters: each hands plain data to a function of hostplan."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The roles run from a checkout, where hostplan lies beside roles/ and need not be installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from hostplan import tuning
from hostplan.plain import plain


class FilterModule:
    """Filters of the role `host_tuning`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {
            "host_tuning_plan": lambda found, intent: tuning.plan(plain(intent), plain(found)),
            "host_tuning_undo": lambda found, before: tuning.undo(plain(before), plain(found)),
            "host_tuning_sysctl_file": lambda chosen: tuning.sysctl_file(plain(chosen)),
            "host_tuning_limits_file": lambda _: tuning.limits_file(),
        }
