"""What is asked of a bundle, as Ansible filters: each hands plain data to a function of the package `bundle`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The roles run from a checkout, where the package lies beside roles/ and need not be installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from bundle import ask, gpus
from hostplan.plain import of_plain


class FilterModule:
    """Filters of the role `bundle`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {
            # Host variables stay as they are: reading all of them would resolve every template of the inventory.
            "bundle_hosts_by_platform": ask.hosts_by_platform,
            "bundle_gpus": gpus.asked,
            "bundle_request": of_plain(ask.request),
            "bundle_needs": of_plain(ask.wanted),
            "bundle_parts_of_host": of_plain(ask.parts_of_host),
            "bundle_arriving": of_plain(ask.arriving),
            "bundle_below": of_plain(ask.below),
        }
