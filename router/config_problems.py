"""What can be wrong with `router.yml`, in words: `where: what was found: what is allowed; what to do`."""

from difflib import get_close_matches
from typing import Any, cast, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_FOUND_CHARACTERS = 80  # of a wrong value, in a message


def problem(root: type[BaseModel], details: ErrorDetails) -> str:
    """Say one pydantic error of a file described by `root` as `where: what was found: what is allowed`."""
    place = _place(details["loc"]) or "the file"
    if details["type"] == "extra_forbidden":
        return f"{_place(details['loc'][:-1]) or 'the file'}: {_unknown_key(root, details['loc'])}"
    if details["type"] == "missing":
        return f"{place}: found nothing: allowed a value; add it"
    allowed = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{place}: found {shown(details['input'])}: allowed {allowed[:1].lower()}{allowed[1:]}"


def _unknown_key(root: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    fields = _section_at(root, loc[:-1]).model_fields
    key, allowed = str(loc[-1]), sorted(field.alias or name for name, field in fields.items())
    return f"found unknown key {shown(key)}: allowed {', '.join(allowed)}; {nearest(key, allowed)}"


def _section_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    section: Any = root
    for part in loc:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            section = next(iter(get_args(annotation)), annotation)
    return cast("type[BaseModel]", section)  # the places that pydantic names end in one


def nearest(word: str, allowed: list[str]) -> str:
    """Say which allowed word was probably meant."""
    near = get_close_matches(word, allowed, n=1)
    return f"did you mean {near[0]!r}?" if near else "remove or correct it"


def _place(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def shown(value: Any) -> str:
    """A wrong value, short enough for a message."""
    text = repr(value)
    return text if len(text) <= _FOUND_CHARACTERS else f"{text[:_FOUND_CHARACTERS]}…"
