"""Reading an Ansible inventory's mappings: hosts for the plan, names for the misspelling check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stackplan.plan import GROUPS


def hosts(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """`{name, address, gpus, groups}` of every host of the inventory, in its order."""
    return [
        {
            "name": name,
            "address": hostvars[name].get("stack_address"),
            "gpus": hostvars[name].get("stack_gpus", 0),
            "groups": [group for group in GROUPS if name in groups.get(group, [])],
        }
        for name in groups.get("all", [])
    ]


def variable_names(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of all variables beginning with `stack_`, of all hosts."""
    return sorted({key for host in groups.get("all", []) for key in hostvars[host] if key.startswith("stack_")})
