"""The plan as Ansible filters: each hands plain data to a function of stackplan."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# The roles run from a checkout, where stackplan lies beside roles/ and need not be installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

import stackplan
from stackplan import inventory


def plain(value: Any) -> Any:
    """A copy in plain types: Ansible's own resolve templates only while they are read item by item."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _of_plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: function(*(plain(arg) for arg in args))


class FilterModule:
    """Filters of the role `stack`; the plan's consumers take the plan and a host's name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {
            "stack_hosts": inventory.hosts,
            "stack_variable_names": inventory.variable_names,
            "stack_problems": _of_plain(stackplan.problems),
            "stack_plan": _of_plain(stackplan.plan),
            "stack_offline": _of_plain(stackplan.offline),
            "stack_router_config": _of_plain(stackplan.router_config),
            "stack_router_configs": _of_plain(stackplan.router_configs),
            "stack_edge_secrets": _of_plain(stackplan.edge_secrets),
            "stack_edge_config": _of_plain(stackplan.edge_config),
            "stack_grafana_boards": _of_plain(stackplan.grafana_boards),
            "stack_observe_configs": _of_plain(stackplan.observe_configs),
            "stack_observe_secrets": _of_plain(stackplan.observe_secrets),
            "stack_gpu_counters": _of_plain(stackplan.gpu_counters),
            "stack_compose_project": _of_plain(stackplan.compose_project),
        }
