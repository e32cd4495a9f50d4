"""The plan as Ansible filters: each hands plain data to a function of stackplan."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The roles run from a checkout, where stackplan lies beside roles/ and need not be installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

import stackplan
from hostplan.plain import of_plain
from stackplan import inventory


class FilterModule:
    """Filters of the role `stack`; the plan's consumers take the plan and a host's name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {
            "stack_hosts": inventory.hosts,
            "stack_variable_names": inventory.variable_names,
            "stack_problems": of_plain(stackplan.problems),
            "stack_plan": of_plain(stackplan.plan),
            "stack_offline": of_plain(stackplan.offline),
            "stack_router_config": of_plain(stackplan.router_config),
            "stack_router_configs": of_plain(stackplan.router_configs),
            "stack_edge_secrets": of_plain(stackplan.edge_secrets),
            "stack_edge_config": of_plain(stackplan.edge_config),
            "stack_grafana_boards": of_plain(stackplan.grafana_boards),
            "stack_observe_configs": of_plain(stackplan.observe_configs),
            "stack_observe_secrets": of_plain(stackplan.observe_secrets),
            "stack_gpu_counters": of_plain(stackplan.gpu_counters),
            "stack_compose_project": of_plain(stackplan.compose_project),
        }
