"""Decisions about the container toolkit as Ansible filters: each hands plain data to a function of hostplan."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The roles run from a checkout, where hostplan lies beside roles/ and need not be installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from hostplan import toolkit
from hostplan.plain import plain


class FilterModule:
    """Filters of the role `container_toolkit`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {
            "container_toolkit_plan": lambda found, intent, where: toolkit.plan(
                plain(intent), plain(found), str(where)
            ),
            "container_toolkit_containerd": lambda text, mode: toolkit.containerd(str(text), str(mode)),
        }
