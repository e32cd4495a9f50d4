"""How a conversation began, found in the octets of its messages without reading the later ones. Pure.

Every turn of a conversation begins with the same octets, up to the end of the first user message. It is found
by trying, or where that fails by walking over the texts; either way it is the same end, so that every turn has the same
beginning however long the conversation has become.
"""

from typing import Any, Final

import msgspec

from router.values import Turn

_NEAR: Final = 16_384  # octets
_MOST_TRIES: Final = 4
_MOST_MESSAGES: Final = 16
_MOST_SPACE: Final = 256
_JOINTS: Final = (b",", b"]")
_SYSTEM: Final = ("system", "developer")
_OPEN: Final = ord("{")
_CLOSE: Final = ord("}")
_DEPTHS: Final = {_OPEN: 1, ord("["): 1, _CLOSE: -1, ord("]"): -1}


_Turns = list[Turn]
_TURNS: Final = msgspec.json.Decoder(_Turns)


def opening(path: str, prompt: memoryview) -> tuple[bytes, bytes] | None:
    """The octets of a list of messages up to the end of the first user message, and what the edge can see of them.

    None where there is no such message among the first ones, or not all of it is here.
    """
    octets = bytes(prompt[:_NEAR])
    if not octets.startswith(b"["):
        return None
    found = _likely(octets)
    if found is None:
        octets = bytes(prompt)
        found = (_likely(octets) if len(octets) > _NEAR else None) or _sure(octets)
    return (octets[: found[0]], _seen_by_edge(path, found[1])) if found is not None else None


def _decoded(octets: bytes) -> _Turns | None:
    try:
        return _TURNS.decode(octets)
    except (ValueError, RecursionError):
        return None


def _likely(octets: bytes) -> tuple[int, _Turns] | None:
    """Where the first user message ends, and the messages up to there, if a few tries find them.

    What can be decoded from the start on is whole.
    """
    at, tries = octets.find(b'"user"'), _MOST_TRIES
    while at >= 0 and tries:
        at = octets.find(b"}", at) + 1
        if not at:
            return None
        after = octets[at : at + 1]
        if after in _JOINTS or (after.isspace() and octets[at : at + _MOST_SPACE].lstrip()[:1] in _JOINTS):
            tries -= 1
            turns = _decoded(octets[:at] + b"]")
            if turns and turns[-1].role == "user":
                return at, turns
    return None


def _sure(octets: bytes) -> tuple[int, _Turns] | None:
    """The same by walking from text to text, and counting the brackets between them."""
    bare = octets.replace(b"\\\\", b"__").replace(b'\\"', b"__")  # of the same length, without quotes in texts
    begin = depth = messages = 0
    while messages < _MOST_MESSAGES:
        end = bare.find(b'"', begin)
        for at in range(begin, end if end >= 0 else len(bare)):
            depth += _DEPTHS.get(bare[at], 0)
            if depth == 1 and bare[at] == _CLOSE:
                messages += 1
                turns = _decoded(octets[: at + 1] + b"]") if b'"user"' in octets[:at] else None
                if turns and turns[-1].role == "user":
                    return at + 1, turns
        begin = bare.find(b'"', end + 1) + 1 if end >= 0 else 0
        if not begin:
            return None
    return None


def _seen_by_edge(path: str, turns: _Turns) -> bytes:
    """The first content; of a chat also the second, where the first is the system's."""
    first = _octets(turns[0].content)
    if path == "/v1/chat/completions" and turns[0].role in _SYSTEM and len(turns) > 1:
        return first + _octets(turns[1].content)
    return first


def _octets(content: Any) -> bytes:
    return content.encode() if isinstance(content, str) else msgspec.json.encode(content)
