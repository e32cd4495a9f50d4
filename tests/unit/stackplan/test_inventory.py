"""What is read from an inventory: hosts in its order, and names to check."""

from __future__ import annotations

from typing import Any

from stackplan.inventory import hosts, variable_names

HOSTVARS: dict[str, dict[str, Any]] = {
    "b": {"stack_address": "10.0.0.2", "stack_gpus": 8, "stack_modles": []},
    "a": {"stack_models": [], "ansible_host": "a.example"},
}
GROUPS = {"all": ["b", "a"], "engines": ["b"], "edge": ["a"], "other": ["a"]}


def test_hosts_come_in_the_inventorys_order_with_the_groups_that_matter() -> None:
    """Groups of the operator's own are left out; what is not set is None or no GPUs."""
    assert hosts(HOSTVARS, GROUPS) == [
        {"name": "b", "address": "10.0.0.2", "gpus": 8, "groups": ["engines"]},
        {"name": "a", "address": None, "gpus": 0, "groups": ["edge"]},
    ]


def test_variable_names_are_those_of_every_host() -> None:
    """A misspelt variable of one host counts, whichever host runs the check."""
    assert variable_names(HOSTVARS, GROUPS) == ["stack_address", "stack_gpus", "stack_models", "stack_modles"]
