"""A request's body → its members, each as the octets it came as, without reading more than needed. Pure.

What decides stands around the prompt, and the prompt itself is only measured and hashed. So no member becomes an object
here, and of a long body the prompt is stepped over: the members before it are read from the front. Where it ends is
found from the back, at a bracket behind which whole members follow to the body's end, and before which a whole message
stands. A body of which only the beginning is here needs its front alone.
"""

import re
from typing import Final

import msgspec
from msgspec import Raw

from router.truncated import mended
from router.turns import Message

_LONG: Final = 4096  # octets: below this, reading everything costs less than looking for the ends
_FRONT: Final = 32_768  # octets before the prompt that are searched for it
_BACK: Final = 49_152  # octets after the prompt that are searched for its end
_TAIL: Final = 2_048  # … where no member's name tells
_LAST_MESSAGE: Final = 8_192
_MOST_TRIES: Final = 8
_FULL: Final = 0.75  # of the buffer: the rest may hold headers and the edge's reserve
_SPACE: Final = b" \t\r\n"
_MODEL: Final = b'"model"'
_MOST_SPACE: Final = 64
_BETWEEN: Final = re.compile(rb"[\"\]]\s*(\}\s*\])\s*,\s*\Z")  # a message ends in a text or a list, a tool in an object
_LIST: Final = ord("[")
_QUOTE: Final = ord('"')
_NOTHING: Final = memoryview(b"")

Members = dict[str, Raw]
_MEMBERS: msgspec.json.Decoder[Members] = msgspec.json.Decoder(Members)


_MESSAGE: Final = msgspec.json.Decoder(Message)


class Body:
    """The members by name; the octets of the one that holds the prompt, as far as they are here; whether it was cut."""

    __slots__ = ("cut", "members", "prompt")

    def __init__(self, members: Members, prompt: memoryview, *, cut: bool) -> None:
        self.members = members
        self.prompt = prompt
        self.cut = cut


def read_body(seen: bytes, size: int, buffer_bytes: int, holder: str, *, step_over: bool) -> Body:
    """Return the members of a body of `size` octets, of which `seen` is the beginning or all.

    `holder` names the member that holds the prompt. `step_over`: nobody is harmed when a body that was made to
    deceive is read otherwise than by its engine. Raises ValueError for what is no JSON object, and RecursionError.
    """
    if size > len(seen):
        return _cut(seen, holder)
    if step_over and len(seen) >= _LONG:
        found = _around(seen, holder)
        if found is not None:
            return found
    try:
        members = _MEMBERS.decode(seen)
    except msgspec.ValidationError:
        raise
    except ValueError:
        if len(seen) < buffer_bytes * _FULL:
            raise
        return _cut(seen, holder)  # no length was announced, and the buffer is full
    return Body(members, _octets(members, holder), cut=False)


def _octets(members: Members, holder: str) -> memoryview:
    raw = members.get(holder)
    return memoryview(raw) if raw is not None else _NOTHING


def _cut(seen: bytes, holder: str) -> Body:
    front = _front(seen, holder)
    if front is not None:
        return Body(front[0], memoryview(seen)[front[1] :], cut=True)
    whole = mended(seen)
    members = _MEMBERS.decode(whole) if whole is not None else {}
    return Body(members, _octets(members, holder), cut=True)


def _around(seen: bytes, holder: str) -> Body | None:
    """The members before and after the prompt; None where its ends are not plain to see."""
    front = _front(seen, holder)
    if front is None:
        return None
    members, start = front
    if seen[start] != _LIST:
        return None  # a text's end looks like any other's
    back = _behind_last_message(seen, start) if "model" in members else _from_model(seen, start)
    if back is None or holder in back[0]:
        return None
    return Body(members | back[0], memoryview(seen)[start : back[1]], cut=False)


def _front(seen: bytes, holder: str) -> tuple[Members, int] | None:
    """The members before the prompt, and where it begins. What can be decoded from the start on is read rightly."""
    name, at = b'"%b"' % holder.encode(), 0
    for _ in range(_MOST_TRIES):
        at = seen.find(name, at, _FRONT)
        if at < 0:
            return None
        start = _start(seen, at + len(name))
        if start:
            before = seen[:at].rstrip(_SPACE)
            members = _decoded((before[:-1] if before.endswith(b",") else before) + b"}")
            if members is not None:
                return members, start
        at += 1
    return None


def _start(seen: bytes, at: int) -> int:
    """Where the value begins after a name that ends at `at`, if it is a text or a list; else 0."""
    head = seen[at : at + 8].lstrip(_SPACE)
    value = head[1:].lstrip(_SPACE)
    if not value or head[0] != ord(":") or value[0] not in (_LIST, _QUOTE):
        return 0
    return at + 8 - len(value) if len(seen) >= at + 8 else 0


def _from_model(seen: bytes, start: int) -> tuple[Members, int] | None:
    """As clients write it: the messages, and then at once the model and everything else."""
    at = seen.rfind(_MODEL, max(start, len(seen) - _BACK))
    gap = _BETWEEN.search(seen, max(at - _MOST_SPACE, 0), at) if at >= 0 else None
    members = _decoded(b"{" + seen[at:]) if gap is not None else None
    if gap is None or members is None:
        return _behind_last_message(seen, start)
    return members, gap.end(1)


def _behind_last_message(seen: bytes, start: int) -> tuple[Members, int] | None:
    """The members after the prompt, and where it ends: at a bracket with whole members behind it, a message before."""
    end, lowest = len(seen), max(start, len(seen) - _TAIL)
    for _ in range(_MOST_TRIES):
        end = seen.rfind(b"]", lowest, end)
        if end < 0:
            return None
        members = _after(seen, end + 1)
        if members is not None and _ends_a_message(seen, start, end):
            return members, end + 1
    return None


def _after(seen: bytes, at: int) -> Members | None:
    rest = seen[at:].lstrip(_SPACE)
    if rest.startswith(b","):
        rest = rest[1:]
    elif not rest.startswith(b"}"):
        return None
    return _decoded(b"{" + rest)


def _ends_a_message(seen: bytes, start: int, end: int) -> bool:
    """Whether a whole message stands right before `end`: then the list that ends there is one of messages."""
    begin = seen.rfind(b'{"role"', max(start, end - _LAST_MESSAGE), end)
    if begin < 0:
        return False
    try:
        _MESSAGE.decode(memoryview(seen)[begin:end])
    except (ValueError, RecursionError):
        return False
    return True


def _decoded(octets: bytes) -> Members | None:
    try:
        return _MEMBERS.decode(octets)
    except (ValueError, RecursionError):
        return None
