"""Whether a dashboard's JSON is what Grafana's schema says: decoded by the SDK's models, every value of its type."""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()


def problems(text: str) -> list[str]:
    """What is wrong with a dashboard's JSON, one line each; nothing for one that Grafana's schema allows."""
    data = json.loads(text)
    decoded = Dashboard.from_json(data)
    again = json.loads(json.dumps(decoded, cls=JSONEncoder))
    return [*_mistyped(decoded, "dashboard"), *_lost(data, again, "dashboard")]


def _lost(data: Any, again: Any, where: str) -> Iterator[str]:
    """What the schema does not know: decoding leaves it out."""
    if isinstance(data, dict) and isinstance(again, dict):
        for key in data.keys() | again.keys():
            if key not in again:
                yield f"{where}.{key}: {data[key]!r} was found: the schema has no such field; remove it"
            elif key in data:
                yield from _lost(data[key], again[key], f"{where}.{key}")
    elif isinstance(data, list) and isinstance(again, list) and len(data) == len(again):
        for at, pair in enumerate(zip(data, again, strict=True)):
            yield from _lost(*pair, f"{where}[{at}]")
    elif data != again:
        yield f"{where}: {data!r} was found: the schema reads {again!r}; correct it"


def _mistyped(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from _mistyped(item, f"{where}[{at}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _mistyped(item, f"{where}.{key}")
    elif hasattr(value, "to_json"):
        for name, hint in _hints(type(value)).items():
            held = getattr(value, name)
            if not _fits(held, hint):
                yield f"{where}.{name}: {held!r} was found: {hint} is allowed; correct it"
            yield from _mistyped(held, f"{where}.{name}")


def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    return _is(value, hint)


def _is(value: Any, hint: Any) -> bool:
    if isinstance(value, dict) and hasattr(hint, "from_json"):
        # The SDK leaves some nested values undecoded.
        decoded = hint.from_json(value)
        again = json.loads(json.dumps(decoded, cls=JSONEncoder))
        return not any((*_lost(value, again, ""), *_mistyped(decoded, "")))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [each.value for each in hint]
    return isinstance(value, hint)
