"""What a request asks an engine to read: how a conversation began, and how long the prompt is. Pure.

One reader per API. The beginning (system, tools, first user message) stays the same for every turn of a conversation,
so it can stand for the conversation where nothing names it.
"""

import re
import string
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from router.errors import Refused
from router.values import Prompt

_IMAGE_TOKENS: Final = 1024
_HEAD_CHARACTERS: Final = 4096
_MOST_OPENING: Final = 8
_MOST_DEPTH: Final = 8
_SYSTEM: Final = ("system", "developer")
_MEDIA: Final = frozenset(
    ("image", "image_url", "input_image", "image_embeds", "input_audio", "audio_url", "video_url", "input_file", "file")
)
_MEDIA_NAMED: Final = re.compile(
    rb'"type"\s*:\s*"(?:image|input_image|input_audio|input_file|audio_url|video_url|file)'
)
_END_OCTETS: Final = 2048
_SAMPLES: Final = 64
_STRIDES: Final = (31, 67, 127, 257, 521, 1031, 2053, 4099, 1 << 20)  # primes: repeated text is seen all over
_ENCODED: Final = string.ascii_letters.encode() + string.digits.encode() + b"+/="  # language has an eighth of others
_PAIRS: Final = (("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items"))
_TEXTS: Final = ("text", "content", "thinking", "arguments", "output", "tool_calls", "function")


class Api(NamedTuple):
    """How one API names things: the member that holds the prompt, the one read before it ("" for none).

    `scattered`: several members are the prompt, maybe under other names, and `read` counts them all.
    """

    holder: str
    system: str
    read: Callable[[dict[str, Any], int], Prompt]
    scattered: bool = False


class _Tally:
    """Adds up text and what is no text, wherever the APIs put them."""

    __slots__ = ("characters", "tokens")

    def __init__(self) -> None:
        self.characters = 0
        self.tokens = 0

    def add(self, value: Any, depth: int = 0) -> None:
        if type(value) is str:
            self.characters += len(value)
        elif depth > _MOST_DEPTH:
            return
        elif type(value) is list:
            self._list(value, depth)
        elif type(value) is dict:
            self._part(value, depth)

    def _list(self, values: list[Any], depth: int) -> None:
        if values and type(values[0]) is int:
            self.tokens += len(values)
            return
        for value in values:
            self.add(value, depth + 1)

    def _part(self, part: dict[str, Any], depth: int) -> None:
        kind = part.get("type")
        if type(kind) is str and kind in _MEDIA:
            self.tokens += _IMAGE_TOKENS
            return
        for name in _TEXTS:
            value = part.get(name)
            if value is not None:
                self.add(value, depth + 1)
        if kind == "tool_use":
            self.characters += len(_json(part.get("input")))

    def messages(self, messages: list[Any]) -> None:
        for message in messages:
            content = message.get("content") if type(message) is dict else message
            if type(content) is str and "tool_calls" not in message:
                self.characters += len(content)
            else:
                self.add(message)


def read_prompt(path: str, body: dict[str, Any], longest: int) -> Prompt:
    """Read the prompt of a request to `path`, one of PATHS. Raises Refused (400) when there is none.

    `longest`: of any one text of the opening only so many characters count, so that a body that is later cut still
    begins as it did.
    """
    return PATHS[path].read(body, longest)


def is_text(prompt: memoryview, *, list_needed: bool) -> bool:
    """Whether the octets of a prompt are its length: a text, or a list of messages with nothing else than text.

    A long prompt is looked at here and there: at its ends for names of media, in between for what is no language.
    """
    head = bytes(prompt[:_END_OCTETS])
    if not head.startswith(b"[{"):
        if head.startswith(b'"'):
            return not list_needed
        if not head.startswith(b"[") or not head[1:].lstrip().startswith(b"{"):
            return False
    if _names_media(head, 1):
        return False
    if len(prompt) == len(head):
        return True
    if _names_media(bytes(prompt[-_END_OCTETS:]), 0):
        return False
    stride = _STRIDES[bisect_left(_STRIDES, min(len(prompt) // _SAMPLES, _STRIDES[-1]))]
    sample = bytes(prompt[::stride])
    return len(sample.translate(None, _ENCODED)) * 8 > len(sample)


def _names_media(octets: bytes, start: int) -> bool:
    """Whether a part of a message says that it is no text; parts stand in lists."""
    return octets.find(b"[", start) >= 0 and b'"type"' in octets and _MEDIA_NAMED.search(octets) is not None


def _chat(body: dict[str, Any], longest: int) -> Prompt:
    messages = _needed_list(body, "messages")
    begun = _opening(messages, longest)
    return _conversation(messages, begun, _edge_opening(messages, begun))


def _messages(body: dict[str, Any], longest: int) -> Prompt:
    messages = _needed_list(body, "messages")
    begun = _opening(messages, longest)
    return _conversation(messages, begun, begun[0])


def _responses(body: dict[str, Any], longest: int) -> Prompt:
    asked = _needed(body, "input")
    begun = _opening(asked, longest) if isinstance(asked, list) else [_bytes(asked)[:longest]]
    return _conversation(asked if isinstance(asked, list) else [asked], begun, begun[0])


def _completions(body: dict[str, Any], longest: int) -> Prompt:
    if body.get("prompt") is None and body.get("prompt_embeds") is not None:
        return _plain("")
    return _plain(_needed(body, "prompt"))


def _embeddings(body: dict[str, Any], longest: int) -> Prompt:
    return _plain(body["messages"] if body.get("messages") else _needed(body, "input"))


def _speech(body: dict[str, Any], longest: int) -> Prompt:
    return _plain(_needed(body, "input"))


def _rerank(body: dict[str, Any], longest: int) -> Prompt:
    return _plain([_compared(body, "query"), _compared(body, "documents")])


def _score(body: dict[str, Any], longest: int) -> Prompt:
    named = [pair for pair in _PAIRS if pair[0] in body] or [*_PAIRS]
    first, second = next((pair for pair in named if pair[1] in body), named[0])
    return _plain([_compared(body, first), _compared(body, second)])


def _conversation(messages: list[Any], begun: list[bytes], edge_opening: bytes) -> Prompt:
    tally = _Tally()
    tally.messages(messages)
    return Prompt(begun, edge_opening, tally.characters, tally.tokens)


def _plain(text: Any) -> Prompt:
    tally = _Tally()
    tally.add(text)
    whole = _bytes(text)
    return Prompt([whole[:_HEAD_CHARACTERS]], whole, tally.characters, tally.tokens)


PATHS: Final[dict[str, Api]] = {
    "/v1/chat/completions": Api("messages", "", _chat),
    "/v1/completions": Api("prompt", "", _completions),
    "/v1/responses": Api("input", "instructions", _responses),
    "/v1/messages": Api("messages", "system", _messages),
    "/v1/embeddings": Api("input", "", _embeddings),
    "/v1/rerank": Api("documents", "query", _rerank, scattered=True),
    "/v1/score": Api("text_2", "text_1", _score, scattered=True),
    "/v1/audio/speech": Api("input", "", _speech),
}
FORMS: Final = ("/v1/audio/transcriptions", "/v1/audio/translations")


def _opening(messages: list[Any], longest: int) -> list[bytes]:
    """The contents of everything up to the first user message, and that."""
    contents = []
    for message in messages[:_MOST_OPENING]:
        if not isinstance(message, dict):
            contents.append(_bytes(message)[:longest])
            continue
        contents.append(_bytes(message.get("content"))[:longest])
        if message.get("role") == "user":
            break
    return contents


def _edge_opening(messages: list[Any], opening: list[bytes]) -> bytes:
    """What the edge looks at: the first message, and the second after a system message."""
    first = messages[0]
    system = isinstance(first, dict) and first.get("role") in _SYSTEM
    return b"".join(opening[: 2 if system else 1])


def _needed(body: dict[str, Any], name: str) -> Any:
    value = body.get(name)
    if isinstance(value, str | list) and value != []:
        return value
    found = "nothing" if value is None else "empty" if value == [] else "neither text nor a list"
    raise Refused(
        400,
        "invalid_request_error",
        f"{name}: {found}: a text or a list is needed",
        param=name,
        code=f"missing_{name}" if value is None else None,
    )


def _compared(body: dict[str, Any], name: str) -> Any:
    """What is compared with something else: a text, an object with media in it, or a list of such."""
    value = body.get(name)
    return value if isinstance(value, dict) and value else _needed(body, name)


def _needed_list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if isinstance(value, list) and value:
        return value
    found = "nothing" if value is None else "empty" if value == [] else "not a list"
    raise Refused(
        400,
        "invalid_request_error",
        f"{name}: {found}: a list of at least one message is needed",
        param=name,
        code=f"missing_{name}" if value is None else None,
    )


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else _json(value)


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
