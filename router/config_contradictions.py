"""What in `router.yml` is well-formed, section by section, and still cannot be together.

All of it is found on the raw file, so that a wrong shape elsewhere hides none of it.
"""

from collections.abc import Iterator
from typing import Any

from router.config_problems import nearest, shown

Raw = dict[Any, Any]
_OTHER = ("aliases", "adapters")


def contradictions(raw: Raw) -> list[str]:
    """Every contradiction between sections, as `where: what was found: what is allowed; what to do`."""
    return [
        *_duplicates(raw, "models", "name"),
        *_duplicates(raw, "models", "backend"),
        *_duplicates(raw, "engines", "name"),
        *_duplicates(raw, "engines", "url"),
        *_duplicates(raw, "tenants", "name"),
        *_duplicates(_section(raw, "admission"), "classes", "name", under="admission."),
        *_engines_of_unknown_models(raw),
        *_models_without_engine(raw),
        *_other_names(raw),
        *_unknown_in_tenants(raw),
        *_shared_addresses(raw),
        *_decider(raw),
        *_repeated_peers(raw),
        *_queue(raw),
        *_kv_events(raw),
    ]


def _rows(raw: Raw, section: str) -> list[tuple[int, Raw]]:
    items = raw.get(section)
    return [(at, item) for at, item in enumerate(items if isinstance(items, list) else []) if isinstance(item, dict)]


def _column(raw: Raw, section: str, key: str) -> list[tuple[int, str]]:
    return [(at, item[key]) for at, item in _rows(raw, section) if isinstance(item.get(key), str)]


def _section(raw: Raw, name: str) -> Raw:
    section = raw.get(name)
    return section if isinstance(section, dict) else {}


def _texts(item: Raw, key: str) -> list[tuple[int, str]]:
    values = item.get(key)
    return [(at, text) for at, text in enumerate(values if isinstance(values, list) else []) if isinstance(text, str)]


def _number(section: Raw, key: str, default: float) -> float | None:
    value = section.get(key, default)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _duplicates(raw: Raw, section: str, key: str, under: str = "") -> Iterator[str]:
    first: dict[str, int] = {}
    for at, value in _column(raw, section, key):
        if value in first:
            yield (
                f"{under}{section}[{at}].{key}: found {shown(value)}, which {section}[{first[value]}] has already: "
                f"allowed a {key} of its own; change one of them"
            )
        first.setdefault(value, at)


def _engines_of_unknown_models(raw: Raw) -> Iterator[str]:
    models = sorted({name for _, name in _column(raw, "models", "name")})
    for at, model in _column(raw, "engines", "model"):
        if models and model not in models:
            allowed = ", ".join(models)
            yield f"engines[{at}].model: found {shown(model)}: allowed {allowed}; {nearest(model, models)}"


def _models_without_engine(raw: Raw) -> Iterator[str]:
    served = {model for _, model in _column(raw, "engines", "model")}
    for at, name in _column(raw, "models", "name"):
        if served and name not in served:
            yield f"models[{at}].name: found {shown(name)}, which no engine serves: allowed a served one"


def _other_names(raw: Raw) -> Iterator[str]:
    """A client's model name must mean one thing."""
    taken = {name: f"models[{at}]" for at, name in _column(raw, "models", "name")}
    for at, model in _rows(raw, "models"):
        for key in _OTHER:
            for index, name in _texts(model, key):
                place = f"models[{at}].{key}[{index}]"
                if name in taken:
                    yield f"{place}: found {shown(name)}, which {taken[name]} has already: allowed a name of its own"
                taken.setdefault(name, place)


def _unknown_in_tenants(raw: Raw) -> Iterator[str]:
    models = sorted({name for _, name in _column(raw, "models", "name")})
    models += [name for _, model in _rows(raw, "models") for key in _OTHER for _, name in _texts(model, key)]
    given = _column(_section(raw, "admission"), "classes", "name")
    classes = sorted({name for _, name in given} or {"default"})
    for at, tenant in _rows(raw, "tenants"):
        for index, model in _texts(tenant, "models"):
            if models and model not in models:
                place, allowed = f"tenants[{at}].models[{index}]", ", ".join(models)
                yield f"{place}: found {shown(model)}: allowed {allowed}; {nearest(model, models)}"
        asked = tenant.get("class", "")
        if isinstance(asked, str) and asked and asked not in classes:
            yield f"tenants[{at}].class: found {shown(asked)}: allowed {', '.join(classes)}; {nearest(asked, classes)}"


def _shared_addresses(raw: Raw) -> Iterator[str]:
    first: dict[str, str] = {}
    for key, address in _section(raw, "listen").items():
        if isinstance(address, str) and address and not address.endswith(":0"):
            if address in first:
                yield f"listen.{key}: found {shown(address)}, which {first[address]} has: allowed a port of its own"
            first.setdefault(address, key)


def _decider(raw: Raw) -> Iterator[str]:
    section = _section(raw, "decider")
    index, of = _number(section, "index", 0), _number(section, "of", 1)
    if index is not None and of is not None and index >= of:
        yield f"decider.index: found {index}: allowed less than decider.of ({of}), they count from 0; correct one"


def _repeated_peers(raw: Raw) -> Iterator[str]:
    first: dict[str, int] = {}
    for at, url in _texts(raw, "peers"):
        seen = first.setdefault(url.rstrip("/"), at)
        if seen != at:
            yield f"peers[{at}]: found {shown(url)}, as in peers[{seen}]: allowed once; remove one"


def _queue(raw: Raw) -> Iterator[str]:
    waits = _number(_section(raw, "admission"), "queue_seconds", 0.0)
    ends = _number(_section(raw, "leases"), "ttl_seconds", 3700.0)
    if waits is not None and ends is not None and waits > ends:
        yield (
            f"admission.queue_seconds: found {waits}: allowed at most leases.ttl_seconds ({ends}), "
            "when a request is written off; lower it"
        )


def _kv_events(raw: Raw) -> Iterator[str]:
    """Engines tell what they hold of what the index knows; where nobody tells, or nobody knows, there is no use."""
    routing = _section(raw, "routing")
    if routing.get("kv_events") is not True:
        return
    if routing.get("prefix_index") is False:
        yield (
            "routing.kv_events: found true with routing.prefix_index false: allowed with the index, which answers "
            "until engines have told; switch it on"
        )
    engines = _rows(raw, "engines")
    if engines and not any(isinstance(engine.get("kv_events"), dict) for _, engine in engines):
        yield "routing.kv_events: found true, but no engine has kv_events: allowed with at least one; add its endpoint"
    first: dict[str, int] = {}
    for at, engine in engines:
        feed = engine.get("kv_events")
        for key in ("endpoint", "replay"):
            address = feed.get(key) if isinstance(feed, dict) else None
            if isinstance(address, str) and address and first.setdefault(address, at) != at:
                yield (
                    f"engines[{at}].kv_events.{key}: found {shown(address)}, which engines[{first[address]}] has "
                    "already: allowed an address of its own; correct one"
                )
