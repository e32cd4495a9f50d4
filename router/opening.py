"""How a conversation began, found in the octets of its messages without reading the later ones. Pure.

Every turn of a conversation begins with the same octets, up to the end of the first user message. It is found
by trying, or where that fails by walking over the texts; either way it is the same end, so that every turn has the same
beginning however long the conversation has become.
"""

import re
from typing import Any, Final

import msgspec

from router.turns import Turn

_NEAR: Final = 16_384  # octets
_MOST_TRIES: Final = 4
_MOST_MESSAGES: Final = 16
_MOST_SPACE: Final = 256
_MOST_QUOTES: Final = 64
_JOINTS: Final = (b",", b"]")
_SPACE: Final = b" \t\r\n"
_SAID: Final = re.compile(rb'\{\s*"role"\s*:\s*"user"\s*,\s*"content"\s*:\s*"')
_OVER: Final = re.compile(rb'"\s*\}(?=\s*[,\]])')
_BACKSLASH: Final = ord("\\")
_SYSTEM: Final = ("system", "developer")
_OPEN: Final = ord("{")
_CLOSE: Final = ord("}")
_DEPTHS: Final = {_OPEN: 1, ord("["): 1, _CLOSE: -1, ord("]"): -1}


_Turns = list[Turn]
_TURNS: Final = msgspec.json.Decoder(_Turns)
_TEXT: Final = msgspec.json.Decoder(str)


def opening(path: str, prompt: memoryview) -> tuple[memoryview, bytes] | None:
    """The octets of a list of messages up to the end of the first user message, and what the edge can see of them.

    None where there is no such message among the first ones, or not all of it is here.
    """
    octets = bytes(prompt[:_NEAR])
    if not octets.startswith(b"["):
        return None
    found = _likely(octets)
    if found is None:
        octets = bytes(prompt)
        found = (_long(octets) or _likely(octets) if len(octets) > _NEAR else None) or _sure(octets)
    return (prompt[: found[0]], _seen_by_edge(path, found[1])) if found is not None else None


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


def _long(octets: bytes) -> tuple[int, _Turns] | None:
    """The same where a long text is the first user message: what clients write around it tells where it ends."""
    said = _SAID.search(octets, 0, _NEAR)
    end = _end_of_text(octets, said.end()) if said is not None else 0
    over = _OVER.match(octets, end) if end else None
    if said is None or over is None:
        return None
    before = octets[: said.start()].rstrip(_SPACE)
    turns = _decoded((before[:-1] if before.endswith(b",") else before) + b"]")
    if turns is None or any(turn.role == "user" for turn in turns):
        return None
    content = _text(octets, said.end(), end)
    return (over.end(), [*turns, Turn("user", content)]) if content is not None else None


def _end_of_text(octets: bytes, at: int) -> int:
    """Where the quote stands that ends the text which begins at `at`; 0 where that is not soon found."""
    begin = at
    for _ in range(_MOST_QUOTES):
        at = octets.find(b'"', at)
        if at < 0:
            break
        before = at
        while before > begin and octets[before - 1] == _BACKSLASH:
            before -= 1
        if (at - before) % 2 == 0:
            return at
        at += 1
    return 0


def _text(octets: bytes, begin: int, end: int) -> bytes | None:
    """What a text says whose octets are these; None for what is none."""
    if octets.find(b"\\", begin, end) < 0:
        return octets[begin:end]
    try:
        return _TEXT.decode(memoryview(octets)[begin - 1 : end + 1]).encode()
    except ValueError:
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
    if isinstance(content, bytes):
        return content
    return content.encode() if isinstance(content, str) else msgspec.json.encode(content)
