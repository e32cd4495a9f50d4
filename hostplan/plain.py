"""Ansible's values as plain ones, for filters: what decides knows nothing of templates."""

from collections.abc import Callable, Mapping
from typing import Any


def plain(value: Any) -> Any:
    """A copy in plain types: Ansible's own resolve templates only while they are read item by item."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def of_plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a filter that is given copies in plain types."""
    return lambda *args: function(*(plain(arg) for arg in args))
