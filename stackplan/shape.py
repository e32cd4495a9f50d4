"""Reading the five sections: every wrong shape becomes one sentence, and the rest is still read.

A value that cannot be read is replaced by its default (or a stand-in), so that the cross checks that follow see the
rest of the file and one run reports all mistakes.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stackplan.fields import PATTERNS
from stackplan.settings import Settings

SECTIONS = ("models", "engines", "router", "edge", "observe")
_SECRET = ("env", "token", "password", "key", "secret", "url")
_STAND_INS = {
    "name": "unnamed-{}",
    "source": "unknown/unknown-{}",
    "context": "unknown-{}",
    "url": "https://unknown-{}.invalid/",
    "url_secret": "unknown-{}",
    "password_hash": "$2y$10$" + "." * 53,
    "sender": "unknown-{}@invalid",
    "smarthost": "unknown-{}:25",
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_ROUNDS = 4  # a replaced value may bring the next error to light, a few levels deep at most


class Read(NamedTuple):
    """What could be read, and what could not."""

    settings: Settings
    problems: list[str]


def read(intent: Mapping[str, Any]) -> Read:
    """Settings out of the five sections (with or without the prefix `stack_`), with one sentence per wrong value."""
    data = {section: copy.deepcopy(intent.get(f"stack_{section}", intent.get(section))) for section in SECTIONS}
    found: list[str] = []
    for _ in range(_ROUNDS):
        try:
            return Read(Settings.model_validate(data), found)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=True)
            found += [text for text in map(sentence, details) if text not in found]
            _mend(data, details)
    return Read(Settings(), found)


def sentence(detail: ErrorDetails) -> str:
    """One error of pydantic's as `where: what was found: what is allowed; what to do`."""
    where = place(detail["loc"])
    if detail["type"] == "missing":
        return f"{where}: nothing was found: it must be given; add it"
    if detail["type"] == "extra_forbidden":
        return _unknown(where, detail["loc"])
    return f"{where}: {_found(detail)} was found: allowed is {_allowed(detail)}; correct the value"


def place(loc: Sequence[int | str]) -> str:
    """`('models', 0, 'name')` as an operator writes it: `stack_models[0].name`."""
    text = "stack_"
    for part in loc:
        if part == "[key]":
            continue
        text += f"[{part}]" if isinstance(part, int) else (part if text == "stack_" else f".{part}")
    return text


def nearest(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?` for the closest known word, else the known words."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"write {close[0]}" if close else "remove it"


def _found(detail: ErrorDetails) -> str:
    if any(word in str(part) for part in detail["loc"] for word in _SECRET):
        return "something else"
    text = repr(detail["input"])
    return text if len(text) <= 80 else text[:77] + "..."


def _allowed(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    bounds = [f"{words} {context[key]}" for key, words in _BOUNDS.items() if key in context]
    if kind == "string_pattern_mismatch":
        return PATTERNS[context["pattern"]]
    if kind == "literal_error":
        return str(context["expected"])
    if kind == "value_error":
        return str(context["error"])
    return bounds[0] if bounds else _KINDS.get(kind.split("_")[0], detail["msg"])


def _unknown(where: str, loc: Sequence[int | str]) -> str:
    known = sorted(_model_at(loc[:-1]).model_fields)
    return f"{where}: unknown setting: known are {', '.join(known)}; {nearest(str(loc[-1]), known)}"


def _model_at(loc: Sequence[int | str]) -> type[BaseModel]:
    model: type[BaseModel] = Settings
    for part in loc:
        if isinstance(part, str):
            model = _inner(model.model_fields[part].annotation)
    return model


def _inner(annotation: Any) -> type[BaseModel]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    candidates = [_inner(arg) for arg in annotation.__args__ if arg is not type(None)]
    return candidates[0]


def _mend(data: dict[str, Any], details: Sequence[ErrorDetails]) -> None:
    """Take out what was wrong, list items from the end so that the places of the others stay true."""
    for detail in sorted(details, key=lambda item: [str(part).zfill(9) for part in item["loc"]], reverse=True):
        _replace(data, detail)


def _replace(data: Any, detail: ErrorDetails) -> None:
    loc = [part for part in detail["loc"] if part != "[key]"]
    for part in loc[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return  # an enclosing value was taken out already
    last = loc[-1]
    stand_in = _STAND_INS.get(str(last))
    if stand_in and isinstance(data, dict) and detail["type"] != "extra_forbidden":
        data[last] = stand_in.format(_index(loc))
    elif isinstance(data, dict):
        data.pop(last, None)
    elif isinstance(data, list) and isinstance(last, int) and last < len(data):
        del data[last]


def _index(loc: Sequence[int | str]) -> int:
    return next((part for part in loc if isinstance(part, int)), 0)
