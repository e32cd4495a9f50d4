"""The role's specification and the plan's settings are the same list, told twice."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from stackplan.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
SPEC = yaml.safe_load((ROOT / "roles/stack/meta/argument_specs.yml").read_text())["argument_specs"]["settings"][
    "options"
]
# Of hosts and of the whole, not of a section.
OUTSIDE = {"stack_root", "stack_address", "stack_gpus", "stack_bundle_path"}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def _kind(annotation: Any) -> str:
    arguments = [arg for arg in get_args(annotation) if arg is not NoneType]
    if NoneType in get_args(annotation):
        return _kind(arguments[0])
    if _model_in(annotation) is annotation:
        return "dict"
    if hasattr(annotation, "__metadata__"):
        return _kind(arguments[0])
    if arguments and all(isinstance(arg, str) for arg in arguments):
        return "str"
    return str(getattr(annotation, "__origin__", annotation).__name__)


def _default(value: Any) -> Any:
    if value is PydanticUndefined:
        return None
    return {} if isinstance(value, BaseModel) else value


def _flat(model: type[BaseModel], prefix: str) -> dict[str, tuple[str, bool, Any]]:
    found: dict[str, tuple[str, bool, Any]] = {}
    for name, field in model.model_fields.items():
        found[prefix + name] = (_kind(field.annotation), field.is_required(), _default(field.default))
        if inner := _model_in(field.annotation):
            found |= _flat(inner, f"{prefix}{name}.")
    return found


def _flat_spec(options: dict[str, Any], prefix: str) -> dict[str, tuple[str, bool, Any]]:
    found: dict[str, tuple[str, bool, Any]] = {}
    for name, spec in options.items():
        found[prefix + name] = (spec["type"], spec.get("required", False), spec.get("default"))
        found |= _flat_spec(spec.get("options", {}), f"{prefix}{name}.")
    return found


def test_specification_and_settings_agree() -> None:
    """Same settings, same types, same defaults: what the README says is what the plan does."""
    sections = {name: spec for name, spec in SPEC.items() if name not in OUTSIDE}
    assert _flat_spec(sections, "") == _flat(Settings, "stack_")


def test_specification_describes_every_setting() -> None:
    """A nested setting without a description is a question for the person on call."""

    def silent(options: dict[str, Any]) -> list[str]:
        below = [name for spec in options.values() for name in silent(spec.get("options", {}))]
        return [name for name, spec in options.items() if not spec.get("description")] + below

    assert silent(SPEC) == []
