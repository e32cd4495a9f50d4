"""What can be wrong with `router.yml`, in words: `where: what was found: what is allowed; what to do`."""

from collections.abc import Iterator
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
    return f"{place}: found {_shown(details['input'])}: allowed {allowed[:1].lower()}{allowed[1:]}"


def _unknown_key(root: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    key, allowed = str(loc[-1]), sorted(_section_at(root, loc[:-1]).model_fields)
    return f"found unknown key {_shown(key)}: allowed {', '.join(allowed)}; {_nearest(key, allowed)}"


def _section_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    section: Any = root
    for part in loc:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            section = next(iter(get_args(annotation)), annotation)
    return cast("type[BaseModel]", section)


def _nearest(word: str, allowed: list[str]) -> str:
    near = get_close_matches(word, allowed, n=1)
    return f"did you mean {near[0]!r}?" if near else "remove or correct it"


def _place(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _FOUND_CHARACTERS else f"{text[:_FOUND_CHARACTERS]}…"


# --------------------------------------------------------------------------------------------------- contradictions


def contradictions(raw: dict[Any, Any]) -> list[str]:
    """Compare sections with one another, on the raw file, so that a wrong shape elsewhere hides none of it."""
    return [
        *_duplicates(raw, "models", "name"),
        *_duplicates(raw, "models", "backend"),
        *_duplicates(raw, "engines", "name"),
        *_duplicates(raw, "engines", "url"),
        *_engines_of_unknown_models(raw),
        *_models_without_engine(raw),
        *_shared_addresses(raw),
    ]


def _column(raw: dict[Any, Any], section: str, key: str) -> list[tuple[int, str]]:
    items = raw.get(section)
    rows = enumerate(items if isinstance(items, list) else [])
    return [(at, item[key]) for at, item in rows if isinstance(item, dict) and isinstance(item.get(key), str)]


def _duplicates(raw: dict[Any, Any], section: str, key: str) -> Iterator[str]:
    first: dict[str, int] = {}
    for at, value in _column(raw, section, key):
        if value in first:
            yield (
                f"{section}[{at}].{key}: found {_shown(value)}, which {section}[{first[value]}] has already: "
                f"allowed a {key} of its own; change one of them"
            )
        first.setdefault(value, at)


def _engines_of_unknown_models(raw: dict[Any, Any]) -> Iterator[str]:
    models = sorted({name for _, name in _column(raw, "models", "name")})
    for at, model in _column(raw, "engines", "model"):
        if models and model not in models:
            allowed = ", ".join(models)
            yield f"engines[{at}].model: found {_shown(model)}: allowed {allowed}; {_nearest(model, models)}"


def _models_without_engine(raw: dict[Any, Any]) -> Iterator[str]:
    served = {model for _, model in _column(raw, "engines", "model")}
    for at, name in _column(raw, "models", "name"):
        if served and name not in served:
            yield f"models[{at}].name: found {_shown(name)}, which no engine serves: allowed a served one"


def _shared_addresses(raw: dict[Any, Any]) -> Iterator[str]:
    listen = raw.get("listen")
    first: dict[str, str] = {}
    for key, address in listen.items() if isinstance(listen, dict) else ():
        if isinstance(address, str) and not address.endswith(":0"):
            if address in first:
                yield f"listen.{key}: found {_shown(address)}, which {first[address]} has: allowed a port of its own"
            first.setdefault(address, key)
