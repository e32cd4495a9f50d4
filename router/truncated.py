"""The beginning of a JSON object → the object as far as it was seen. Pure.

An edge buffers only so much of a body. What names a session (model, fields, the first messages) usually stands in the
part it saw: close what is open there, and read that.
"""

import re
from typing import Any, Final

import msgspec

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_LAST_CHARACTER: Final = re.compile(rb"[\xc0-\xff][\x80-\xbf]{0,3}\Z")
_LAST_ESCAPES: Final = re.compile(rb"(?:\\u[0-9a-fA-F]{0,4}|\\)+\Z")
_TAIL: Final = 64
_BRACKETS: Final = b"{}[]"
_JOINTS: Final = (b"{", b"}", b"[", b"]", b",")
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_CLOSERS: Final = bytes.maketrans(b"{[", b"}]")
_MOST_DEPTH: Final = 64
_MOST_MARKS: Final = 16_000


def mend(seen: bytes) -> dict[str, Any] | None:
    """What `seen`, the beginning of a JSON object, says so far; a text that was cut is there up to the cut.

    None: not the beginning of an object, or one so deep or dense that reading it would hold up others.
    """
    whole = mended(seen)
    return _decoded(whole) if whole is not None else None


def mended(seen: bytes) -> bytes | None:
    """`seen` as a whole JSON object: its octets, less what was cut in two, and what closes it. None as for `mend`."""
    if seen.count(b'"') > _MOST_MARKS:
        return None
    bare = _STRING.sub(b"", seen)
    closers = _closers(bare)
    if closers is None:
        return None
    strings = [match.span() for match in _STRING.finditer(seen)]
    whole = _without_loose_string(seen, strings) + closers
    if _decoded(whole) is not None:
        return whole
    shorter = seen[: _last_joint(seen, strings)] + closers
    return shorter if _decoded(shorter) is not None else None


def _closers(bare: bytes) -> bytes | None:
    """What closes every bracket left open in JSON without its strings."""
    left = bare.translate(None, _NOT_BRACKETS)
    if len(left) > _MOST_MARKS:
        return None
    for _ in range(_MOST_DEPTH):
        inner = left.replace(b"{}", b"").replace(b"[]", b"")
        if inner == left:
            break
        left = inner
    if len(left) > _MOST_DEPTH or b"}" in left or b"]" in left:
        return None
    return left[::-1].translate(_CLOSERS)


def _decoded(candidate: bytes) -> dict[str, Any] | None:
    try:
        body = msgspec.json.decode(candidate)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _without_loose_string(seen: bytes, strings: list[tuple[int, int]]) -> bytes:
    """`seen` with a string that is open at its end closed, without what may be a part of a character or an escape."""
    if not strings or not _is_open(seen, *strings[-1]):
        return seen
    tail = max(strings[-1][0] + 1, len(seen) - _TAIL)
    return seen[:tail] + _LAST_ESCAPES.sub(b"", _LAST_CHARACTER.sub(b"", seen[tail:])) + b'"'


def _is_open(seen: bytes, start: int, stop: int) -> bool:
    if stop < len(seen):
        return False
    inside = seen[start + 1 :]
    backslashes = len(inside) - 1 - len(inside[:-1].rstrip(b"\\"))
    return not inside.endswith(b'"') or backslashes % 2 == 1


def _last_joint(seen: bytes, strings: list[tuple[int, int]]) -> int:
    """Where the last whole member ends: before the last comma, or after the last bracket, outside strings."""
    end = len(seen)
    for start, stop in reversed(strings):
        joint = max(seen.rfind(mark, stop, end) for mark in _JOINTS)
        if joint >= 0:
            return joint + (seen[joint] in _BRACKETS)
        end = start
    return 1
