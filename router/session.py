"""What a session's name becomes: the key that the decision uses, and the one that the edge can compute, too. Pure.

Names count within one tenant and model: no tenant can reach another's session, whatever it sends.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from xxhash import xxh3_64_intdigest, xxh64_digest, xxh64_intdigest

from router.body import Members

_NO_TENANT: Final = ("", "-")
_SCOPES: Final = 4096
_SESSIONS: Final = 8192
_SHORT_NAME: Final = 128
Whose = tuple[str, str, str]  # tenant, model, and the adapter or alias asked for
_DECODER: Final = msgspec.json.Decoder()


def key(whose: Whose, name: bytes) -> int:
    """The session within tenant, model and adapter, unsigned 64 bits."""
    return xxh64_intdigest(_scope(whose) + name)


def stick(whose: Whose, value: bytes) -> str:
    """The session as HAProxy hashes it: signed 64 bits of xxh64 with seed 0, in decimal.

    Behind it stands the tenant, where there is one: no tenant's name has a `|` in it.
    """
    tenant = whose[0]
    digest = xxh64_digest(value if tenant in _NO_TENANT else b"%b|%b" % (value, octets(tenant)))
    return _decimal(int.from_bytes(digest, "big", signed=True))


def named(whose: Whose, name: str) -> tuple[int, str]:
    """Key and stick of a session that has a name; short names are remembered."""
    return _remembered(whose, name) if len(name) <= _SHORT_NAME else _named(whose, name)


def _named(whose: Whose, name: str) -> tuple[int, str]:
    value = octets(name)
    return key(whose, b"named:" + value), stick(whose, value)


_remembered: Final = lru_cache(maxsize=_SESSIONS)(_named)


def response_key(tenant: str, model: str, response_id: str) -> int:
    """The key of a stored response, never 0: what continues it must go where it is stored."""
    return key((tenant, model, ""), b"response:" + octets(response_id)) or 1


@lru_cache(maxsize=_SCOPES)
def seed(whose: Whose, path: str) -> int:
    """What a prompt's first block is chained to: who asks which model or adapter, and how."""
    return xxh3_64_intdigest(_scope(whose) + octets(path))


def lengths_first(parts: Iterable[bytes]) -> bytes:
    """All parts in one, so that no other parts make the same."""
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])


def chained(seed: int, before: Sequence[memoryview], members: Members) -> int:
    """`seed`, and what the engine reads before the prompt; caches of different salts share nothing."""
    salt, last = members.get("cache_salt"), seed
    if salt is not None:
        last = xxh3_64_intdigest(memoryview(salt), last)
    for part in before:
        last = xxh3_64_intdigest(part, last)
    return last


def first_named(members: Members, paths: tuple[str, ...]) -> tuple[str, str]:
    """The first of dotted `paths` at which a text stands, and that text; twice nothing where there is none."""
    for path, first, rest in _steps(paths):
        if first in members:
            text = _text(members[first], rest)
            if text:
                return path, text
    return "", ""


def _text(raw: msgspec.Raw, rest: list[str]) -> str:
    """The text at `rest` within a member; an object stands for its `id`; empty when there is none."""
    value: Any = _DECODER.decode(raw)
    for name in rest:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return _decimal(value)
    return value if isinstance(value, str) else ""


def _decimal(number: object) -> str:
    """As an object, because compiled code loses the memory of an int of more than 62 bits that it makes a text of."""
    return str(number)


@lru_cache(maxsize=16)
def _steps(paths: tuple[str, ...]) -> list[tuple[str, str, list[str]]]:
    split = [(path, *path.split(".")) for path in paths]
    return [(path, first, rest) for path, first, *rest in split]


def octets(text: str) -> bytes:
    """The octets a header or a field came as, whatever they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


@lru_cache(maxsize=_SCOPES)
def _scope(whose: Whose) -> bytes:
    return lengths_first(octets(part) for part in whose)
