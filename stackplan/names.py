"""Names of the variables an inventory may set: a misspelt section would otherwise pass in silence."""

from __future__ import annotations

from collections.abc import Iterable

from stackplan.shape import SECTIONS, nearest

OPERATOR = [
    *(f"stack_{section}" for section in SECTIONS),
    "stack_address",
    "stack_gpus",
    "stack_root",
    "stack_bundle_path",
]
# What the roles set or read for themselves; known, but never suggested.
INTERNAL = {"stack_action", "stack_hosts", "stack_plan", "stack_services", "stack_settings", "stack_variable_names"}


def unknown_names(names: Iterable[str]) -> list[str]:
    """One sentence per variable that begins with `stack_` and means nothing."""
    return [
        f"{name}: unknown variable: known are {', '.join(OPERATOR)}; {nearest(name, OPERATOR)}"
        for name in sorted(set(names))
        if name.startswith("stack_") and name not in OPERATOR and name not in INTERNAL
    ]
