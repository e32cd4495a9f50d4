"""A request's headers and body → what the decision needs to know of it. Pure; reads the JSON once.

The session's name, first found wins: a session header; a configured body field; else what the conversation
began with. Ids that change with every request are never a name. Names count within one tenant and model.
"""

import re
from dataclasses import dataclass
from typing import Any

import msgspec
import xxhash

from router.errors import Refused, shown
from router.prompt import PATHS, Prompt, read_prompt
from router.truncated import mend

_MODELS_SHOWN = 3
_NO_TENANT = ("", "-")
_INT64, _UINT64 = 1 << 63, 1 << 64
_FULL = 0.75  # of the buffer: the rest may hold headers and the edge's reserve
_COMPLAINT = 100
_PREFIX_BYTES = 4096
_MOST_TOKENS = 4_000_000  # longer than any context: an engine refuses it at once, whatever length was announced
_MODEL_SEEN = re.compile(rb'(?<!\\)"model"\s*:\s*"([^"\\]{1,256})"')
_DECODER = msgspec.json.Decoder()


class Request(msgspec.Struct, frozen=True, gc=False):
    """What the edge saw. `size`: the body's whole length in bytes; `body`: as much of it as was buffered.

    `id`: a name that no other request has; the client's own request id may come many times.
    `session` and `source`: value and name of the session header, both empty when there was none.
    """

    id: str
    method: str
    path: str
    content_type: str
    session: str
    source: str
    tenant: str
    size: int
    body: bytes
    priority_class: str = ""


@dataclass(frozen=True, slots=True)
class ParseSettings:
    """Served models, body fields that name a session (dotted paths, first found wins), and two sizes.

    `buffer_bytes`: the edge's buffer, the most of a body that is ever seen.
    """

    models: tuple[str, ...]
    fields: tuple[str, ...] = ()
    characters_per_token: float = 4.0
    buffer_bytes: int = 131072


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A request as the decision sees it.

    `key`: the session within tenant and model, unsigned 64 bits. `stick`: the same session as the edge
    hashes it for its own tables, a signed decimal. `source`: what the key was made of: the header's name, the
    field's path, `fingerprint` or `prefix`. `prompt_tokens` is an estimate.
    `blocks`: chained hashes of the prompt's beginning, block by block; `ends`: the estimated tokens up to each
    block's end. `adapter`: the name asked for where that is an adapter or an alias of `model`. `previous`: the key of
    the stored response this one continues, 0 for none.
    """

    id: str
    model: str
    key: int
    stick: str
    source: str
    tenant: str
    prompt_tokens: int
    stream: bool
    blocks: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    adapter: str = ""
    previous: int = 0
    priority_class: str = ""


class _Session(msgspec.Struct, frozen=True, gc=False):
    """A session's name: what the decision hashes, what the edge hashes, and where it came from."""

    name: bytes
    stick: bytes
    source: str


def parse(request: Request, settings: ParseSettings) -> Ask:
    """Read one request. Raises Refused (400, 404, 405, 413); nothing a client sends raises anything else.

    A body that the edge could buffer only in part is never refused for being cut: what was seen of it is read.
    """
    _check_route(request)
    try:
        body, cut = _body(request, settings)
        model = _model(request, body, settings, cut=cut)
        prompt = _prompt(request, body, settings, cut=cut)
    except RecursionError:
        raise _invalid("body: nested too deeply: fewer levels are allowed") from None
    session = _named(request, body, settings) or _unnamed(request, prompt)
    return Ask(
        id=request.id,
        model=model,
        key=_key(request.tenant, model, session.name),
        stick=_stick(request.tenant, session.stick),
        source=session.source,
        tenant=request.tenant,
        prompt_tokens=min(_tokens(request, prompt, settings, cut=cut), _MOST_TOKENS),
        stream=body.get("stream") is True,
        priority_class=request.priority_class,
    )


def _check_route(request: Request) -> None:
    if request.path not in PATHS:
        message = f"path: {shown(request.path)}: no such path here; POST one of {', '.join(PATHS)}"
        raise Refused(404, "not_found_error", message, code="unknown_path")
    if request.method != "POST":
        message = f"method: {shown(request.method)}: {request.path} takes POST"
        raise Refused(405, "method_not_allowed_error", message, code="method_not_allowed")


def _body(request: Request, settings: ParseSettings) -> tuple[dict[str, Any], bool]:
    """The body as far as it was seen, and whether it was cut."""
    if request.size > len(request.body):
        return mend(request.body) or {}, True
    try:
        body = _DECODER.decode(request.body)
    except ValueError as error:
        if len(request.body) >= settings.buffer_bytes * _FULL:
            return mend(request.body) or {}, True  # no length was announced, and the buffer is full
        raise _invalid(f"body: {_complaint(request.body, error)}: a JSON object is needed") from None
    if not isinstance(body, dict):
        raise _invalid(f"body: JSON, but {_kind(body)}: a JSON object is needed")
    return body, False


def _model(request: Request, body: dict[str, Any], settings: ParseSettings, *, cut: bool) -> str:
    model = body.get("model")
    if model is None and cut:
        model = _model_of_cut(request, settings)
    if not isinstance(model, str) or not model:
        found = "nothing" if model is None else "an empty text" if model == "" else _kind(model)
        raise _invalid(f"model: {found}: {_served(settings)}", param="model", code="missing_model")
    if model not in settings.models:
        message = f"model: {shown(model)} is not served here: {_served(settings)}"
        raise Refused(404, "not_found_error", message, param="model", code="model_not_found")
    return model


def _model_of_cut(request: Request, settings: ParseSettings) -> str:
    if len(settings.models) == 1:
        return settings.models[0]
    found = _MODEL_SEEN.search(request.body)
    if found is not None:
        return found[1].decode(errors="replace")
    message = (
        f"body: {request.size} bytes, of which {len(request.body)} were read, and no model among them: "
        'put "model" first in the body, or send a shorter one'
    )
    raise Refused(413, "request_too_large_error", message, param="model", code="model_not_seen")


def _prompt(request: Request, body: dict[str, Any], settings: ParseSettings, *, cut: bool) -> Prompt | None:
    """The prompt; None when it stands in the part of a body that was not seen."""
    try:
        return read_prompt(request.path, body, settings.buffer_bytes // 2)
    except Refused:
        if cut:
            return None
        raise


def _named(request: Request, body: dict[str, Any], settings: ParseSettings) -> _Session | None:
    if request.session:
        value = _bytes(request.session)
        return _Session(b"named:" + value, value, request.source or "header")
    for path in settings.fields:
        text = _field(body, path) if path in body or "." in path else ""
        if text:
            value = _bytes(text)
            return _Session(b"named:" + value, value, path)
    return None


def _unnamed(request: Request, prompt: Prompt | None) -> _Session:
    if prompt is None:
        seen = request.body[:_PREFIX_BYTES]
        return _Session(b"prefix:" + seen, seen, "prefix")
    return _Session(b"opening:" + prompt.opening, prompt.edge_opening, "fingerprint")


def _field(body: dict[str, Any], path: str) -> str:
    """The text at a dotted path; an object stands for its `id`; empty when there is none."""
    value: Any = body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _key(tenant: str, model: str, name: bytes) -> int:
    scope = _bytes(f"{len(tenant)}:{tenant}{len(model)}:{model}")
    return xxhash.xxh64_intdigest(scope + name)


def _stick(tenant: str, value: bytes) -> str:
    scoped = value if tenant in _NO_TENANT else _bytes(tenant) + b"\0" + value
    digest = xxhash.xxh64_intdigest(scoped)
    return str(digest - _UINT64 if digest >= _INT64 else digest)


def _tokens(request: Request, prompt: Prompt | None, settings: ParseSettings, *, cut: bool) -> int:
    if cut or prompt is None:
        return round(request.size / settings.characters_per_token)
    return round(prompt.characters / settings.characters_per_token) + prompt.tokens


def _bytes(text: str) -> bytes:
    """The bytes a header or a field came as, whatever they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _served(settings: ParseSettings) -> str:
    more = len(settings.models) - _MODELS_SHOWN
    names = ", ".join(settings.models[:_MODELS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"one of {names}; GET /v1/models lists all"


def _complaint(body: bytes, error: ValueError) -> str:
    if not body:
        return "empty"
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)[:_COMPLAINT]


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _invalid(message: str, *, param: str | None = None, code: str | None = None) -> Refused:
    return Refused(400, "invalid_request_error", message, param=param, code=code)
