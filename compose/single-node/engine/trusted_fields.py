"""Lets the edge say what a client must not: how urgent a request is, whose cache it may share, which model it may use.

vLLM reads all that from the request's body, which the edge passes on as it came. The edge's headers say it instead, and
here they become the fields `priority`, `cache_salt` and `model`, whatever the client wrote there. They are written
behind all other fields: where a name comes twice in JSON, the last one counts, so nothing has to be parsed. A request
without these headers passes untouched.

Of a whole answer the tokens are told in the header `x-ironrack-usage: prompt,cached,completion`, for the edge's log.

Loaded by vLLM through `--middleware trusted_fields.TrustedFields`; standard library only, any Python from 3.10.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PRIORITY = b"x-ironrack-priority"
_TEXTS = {b"x-ironrack-cache-salt": "cache_salt", b"x-ironrack-model": "model"}
# What vLLM takes a priority from before it looks at the body.
_VLLMS_OWN = b"x-vllm-priority"
_USAGE = b"x-ironrack-usage"
_SPACE = b" \t\r\n"
_USAGE_KEY = b'"usage":'
_MOST_DIGITS = 20


class TrustedFields:
    """ASGI middleware: fields of the edge in, tokens of whole answers out."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything that is not a POST through untouched."""
        if scope["type"] != "http" or scope.get("method") != "POST":
            await self.app(scope, receive, send)
            return
        fields = _fields(scope["headers"])
        if fields:
            scope, receive = await _rewritten(scope, receive, fields)
        await self.app(scope, receive, _telling(send))


def _fields(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """What the edge says, as fields of the body; a number that is none is not taken over."""
    fields: dict[str, Any] = {}
    for name, value in headers:
        if name == _PRIORITY and value.removeprefix(b"-").isdigit() and len(value) <= _MOST_DIGITS:
            fields["priority"] = int(value)
        elif name in _TEXTS and value:
            fields[_TEXTS[name]] = value.decode("utf-8", "replace")
        elif name == b"content-type" and value.lower().startswith(b"multipart/"):
            return {}
    return fields


async def _rewritten(scope: Scope, receive: Receive, fields: dict[str, Any]) -> tuple[Scope, Receive]:
    """The request with `fields` in its body, and a length that is right again."""
    body, ended = await _body(receive)
    if ended is not None:
        return scope, _replay([{"type": "http.request", "body": body, "more_body": True}, ended], receive)
    body = with_fields(body, fields)
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"content-length", _VLLMS_OWN)]
    length = [(b"content-length", str(len(body)).encode())]
    chunked = any(name == b"transfer-encoding" for name, _ in kept)
    headers = kept if chunked else kept + length
    return {**scope, "headers": headers}, _replay([{"type": "http.request", "body": body, "more_body": False}], receive)


async def _body(receive: Receive) -> tuple[bytes, Message | None]:
    """The whole body; or what came of it, and the message that said that no more will."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(pieces), message
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces), None


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """`messages`, and then whatever else comes: the application must hear of a client that leaves."""
    waiting = messages[::-1]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def with_fields(body: bytes, fields: dict[str, Any]) -> bytes:
    """A JSON object with `fields` as its last ones. What is no object stays what it is: the engine will say so."""
    begin = body.rstrip(_SPACE)
    if not begin.endswith(b"}") or b"\0" in begin:
        return _parsed(body, fields)
    begin = begin[:-1].rstrip(_SPACE)
    comma = b"" if begin.endswith(b"{") else b","
    return begin + comma + json.dumps(fields).encode()[1:]


def _parsed(body: bytes, fields: dict[str, Any]) -> bytes:
    """The same for the rare encodings that Python's JSON reads beside UTF-8."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return body
    return json.dumps({**found, **fields}).encode() if isinstance(found, dict) else body


def _telling(send: Send) -> Send:
    """Holds the headers of a JSON answer until its body is here: whole, it says how many tokens it took."""
    held: list[Message] = []

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start" and _is_json(message):
            held.append(message)
            return
        if held:
            start = held.pop()
            whole = message["type"] == "http.response.body" and not message.get("more_body")
            usage = usage_of(message.get("body", b"")) if whole else b""
            if usage:
                start = {**start, "headers": [*start.get("headers", []), (_USAGE, usage)]}
            await send(start)
        await send(message)

    return tell


def _is_json(start: Message) -> bool:
    return start["status"] == 200 and any(
        name.lower() == b"content-type" and value.startswith(b"application/json")
        for name, value in start.get("headers", ())
    )


def usage_of(body: bytes) -> bytes:
    """`prompt,cached,completion` out of an answer's last `usage`, in the words of any of the APIs; empty for none."""
    at = body.rfind(_USAGE_KEY)
    if at < 0:
        return b""
    try:
        usage, _ = json.JSONDecoder().raw_decode(body[at + len(_USAGE_KEY) :].decode().lstrip())
    except (ValueError, RecursionError):
        return b""
    return _told(usage) if isinstance(usage, dict) else b""


def _told(usage: dict[str, Any]) -> bytes:
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    cached = _count(details, "cached_tokens") if isinstance(details, dict) else 0
    if "prompt_tokens" in usage:
        counts = _count(usage, "prompt_tokens"), cached, _count(usage, "completion_tokens")
    elif "input_tokens" in usage:
        # Anthropic's words: the prompt is what was read from the cache, written to it, and neither.
        read = _count(usage, "cache_read_input_tokens")
        written = _count(usage, "cache_creation_input_tokens")
        counts = _count(usage, "input_tokens") + read + written, cached or read, _count(usage, "output_tokens")
    else:
        return b""
    return ",".join(map(str, counts)).encode()


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else 0
