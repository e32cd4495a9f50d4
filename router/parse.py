"""A request's headers and body → what the decision needs to know of it. Pure; reads no more than it needs.

The session's name, first found wins: a session header; a configured body field; else what the conversation
began with. Ids that change with every request are never a name. Names count within one tenant and model.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw
from xxhash import xxh3_64_intdigest

from router.blocks import chain, ends
from router.body import Body, Members, read_body
from router.errors import NeedsProxy, Refused, shown
from router.multipart import read_model
from router.opening import opening
from router.prompt import FORMS, PATHS, Api, is_text, read_prompt
from router.session import Whose, chained, first_named, key, lengths_first, named, octets, response_key, seed, stick
from router.truncated import mend
from router.values import Ask, ParseSettings, Prompt, Request

__all__ = ["Ask", "ParseSettings", "Request", "parse", "response_key"]

_MODELS_SHOWN: Final = 3
_COMPLAINT: Final = 100
_PREFIX_OCTETS: Final = 4096
_MOST_TOKENS: Final = 4_000_000  # longer than any context: an engine refuses it at once, whatever length was announced
_AUDIO_OCTETS_PER_TOKEN: Final = 640.0  # 16 kHz, 16 bits, fifty encoder steps a second
_MODEL_VALUE: Final = re.compile(rb'"model"\s*:\s*"([^"\\]{1,256})"')
_MOST_TRIES: Final = 64
_FOUND: Final = {"array": "a list", "str": "a text", "bool": "true or false", "null": "null"}
_DECODER: Final = msgspec.json.Decoder()
_RESPONSES: Final = "/v1/responses"
_PREVIOUS: Final = ("previous_response_id",)


def parse(request: Request, settings: ParseSettings) -> Ask:
    """Read one request. Raises Refused (400, 404, 405), and NeedsProxy where the model was not seen.

    Nothing a client sends raises anything else. A body that the edge could buffer only in part is never refused for
    being cut: what was seen of it is read.
    """
    if request.path not in PATHS or request.method != "POST":
        _check_route(request)
    try:
        return _form(request, settings) if request.path in FORMS else _read(request, settings)
    except RecursionError:
        raise _invalid("body: nested too deeply: fewer levels are allowed") from None
    except ValueError as error:
        raise _invalid(f"body: {_complaint(request.body, error)}: a JSON object is needed") from None


def _read(request: Request, settings: ParseSettings) -> Ask:
    api = PATHS[request.path]
    # Who may use which adapter is decided by the name that is read here: then nothing is stepped over.
    body = read_body(request.body, request.size, settings.buffer_bytes, api.holder, step_over=not settings.names)
    members = body.members
    model, adapter = _model(request, members, settings, cut=body.cut)
    prompt = None if body.cut or (not api.scattered and _plain(body, api)) else _whole_prompt(request, settings)
    whose = (request.tenant, model, adapter)
    session, edge_session, source = _session(request, body, prompt, settings, whose)
    before = _before(members, api)
    octets_before = sum(map(len, before)) if before and not api.scattered else 0
    ratio = settings.ratios.get(model) or settings.characters_per_token
    tokens, ratio = _tokens(request, body, prompt, octets_before, ratio)
    blocks: tuple[int, ...] = ()
    if body.prompt and ratio:
        origin = chained(seed(whose, request.path), before, members)
        blocks = chain(body.prompt, origin, octets_before)
    previous = first_named(members, _PREVIOUS)[1] if request.path == _RESPONSES else ""
    return Ask(
        id=request.id,
        model=model,
        key=session,
        stick=edge_session,
        source=source,
        tenant=request.tenant,
        prompt_tokens=min(tokens, _MOST_TOKENS),
        stream=_is_true(members.get("stream")),
        blocks=blocks,
        ends=ends(len(blocks), ratio, octets_before) if blocks else (),
        adapter=adapter,
        previous=response_key(request.tenant, model, previous) if previous else 0,
        priority_class=request.priority_class,
    )


def _form(request: Request, settings: ParseSettings) -> Ask:
    """Speech comes as a form with a file in it: nothing to remember, nothing to recognise a session by."""
    asked = read_model(request.body, request.content_type)
    if asked is None:
        if request.size <= len(request.body):
            raise _no_model("nothing", settings)
        asked = _only_model(settings)
        if not asked:
            raise NeedsProxy
    model, adapter = _served(asked, settings)
    whose, once = (request.tenant, model, adapter), octets(request.id)
    session = named(whose, request.session) if request.session else (key(whose, b"once:" + once), stick(whose, once))
    return Ask(
        id=request.id,
        model=model,
        key=session[0],
        stick=session[1],
        source=(request.source or "header") if request.session else "none",
        tenant=request.tenant,
        prompt_tokens=min(round(request.size / _AUDIO_OCTETS_PER_TOKEN), _MOST_TOKENS),
        stream=False,
        adapter=adapter,
        priority_class=request.priority_class,
    )


# ------------------------------------------------------------------------------------------------- what was asked for


def _check_route(request: Request) -> None:
    if request.path not in PATHS and request.path not in FORMS:
        known = ", ".join((*PATHS, *FORMS))
        message = f"path: {shown(request.path)}: no such path here; POST one of {known}"
        raise Refused(404, "not_found_error", message, code="unknown_path")
    if request.method != "POST":
        message = f"method: {shown(request.method)}: {request.path} takes POST"
        raise Refused(405, "method_not_allowed_error", message, code="method_not_allowed")


def _model(request: Request, members: Members, settings: ParseSettings, *, cut: bool) -> tuple[str, str]:
    """The model, and the name asked for where that is another."""
    raw = members.get("model")
    asked: Any = None if raw is None else _decoded(raw)
    if asked is None and cut:
        asked = _only_model(settings) or _model_seen(request.body, settings)
    if not isinstance(asked, str) or not asked:
        raise _no_model("nothing" if asked is None else "an empty text" if asked == "" else _kind(asked), settings)
    return _served(asked, settings)


def _served(asked: str, settings: ParseSettings) -> tuple[str, str]:
    if asked in settings.models:
        return asked, ""
    model = settings.names.get(asked)
    if model is None:
        message = f"model: {shown(asked)} is not served here: {_choice(settings)}"
        raise Refused(404, "not_found_error", message, param="model", code="model_not_found")
    return model, "" if model == asked else asked


def _only_model(settings: ParseSettings) -> str:
    """The model of every body, if there is one name only."""
    return settings.models[0] if len(settings.models) == 1 and not settings.names else ""


def _model_seen(seen: bytes, settings: ParseSettings) -> str:
    """The model that a body names which can be read no further: the first that stands outside texts.

    It may be somebody else's. An engine of another model refuses it then, but not one with that adapter.
    """
    at = -1
    for _ in range(0 if settings.names else _MOST_TRIES):
        at = seen.find(b'"model"', at + 1)
        if at < 0:
            break
        found = _MODEL_VALUE.match(seen, at) if seen[at - 1] != ord("\\") else None
        if found is not None:
            return found[1].decode(errors="replace")
    raise NeedsProxy


def _no_model(found: str, settings: ParseSettings) -> Refused:
    return _invalid(f"model: {found}: {_choice(settings)}", param="model", code="missing_model")


# --------------------------------------------------------------------------------------------------------- the prompt


def _plain(body: Body, api: Api) -> bool:
    """Whether the prompt's octets are its length, so that it need not be read."""
    if api.holder == "input" and not api.system and "messages" in body.members:
        return False  # an embedding of a conversation
    return is_text(body.prompt, list_needed=api.holder == "messages")


def _before(members: Members, api: Api) -> list[memoryview]:
    """What the engine reads before the prompt."""
    tools, system = members.get("tools"), members.get(api.system)
    found = [] if tools is None else [memoryview(tools)]
    return found if system is None else [*found, memoryview(system)]


def _whole_prompt(request: Request, settings: ParseSettings) -> Prompt:
    return read_prompt(request.path, _decoded(request.body), settings.buffer_bytes // 2)


def _tokens(
    request: Request, body: Body, prompt: Prompt | None, octets_before: int, octets_per_token: float
) -> tuple[int, float]:
    """The prompt's tokens with what is read before it, and its octets per token (0: it has none)."""
    if body.cut:
        return round(request.size / octets_per_token), octets_per_token
    if prompt is None:
        return round((len(body.prompt) + octets_before) / octets_per_token), octets_per_token
    own = round(prompt.characters / octets_per_token) + prompt.tokens
    return own + round(octets_before / octets_per_token), len(body.prompt) / own if own else 0.0


# -------------------------------------------------------------------------------------------------- the session's name


def _session(
    request: Request, body: Body, prompt: Prompt | None, settings: ParseSettings, whose: Whose
) -> tuple[int, str, str]:
    """The session's key, how the edge hashes it, and where its name comes from."""
    if request.session:
        return *named(whose, request.session), request.source or "header"
    path, text = first_named(body.members, settings.fields)
    if path:
        return *named(whose, text), path
    found = opening(request.path, body.prompt) or _read_opening(request, body, prompt, settings)
    if found is None:
        seen = request.body[:_PREFIX_OCTETS]
        return key(whose, b"prefix:" + seen), stick(whose, seen), "prefix"
    before = chained(seed(whose, request.path), _before(body.members, PATHS[request.path]), body.members)
    return xxh3_64_intdigest(found[0], before), stick(whose, found[1]), "fingerprint"


def _read_opening(
    request: Request, body: Body, prompt: Prompt | None, settings: ParseSettings
) -> tuple[bytes, bytes] | None:
    """How the conversation began; None where nothing of it was seen."""
    longest = settings.buffer_bytes // 2
    if prompt is None:
        if body.cut and (not body.prompt or body.prompt[0] == ord("[")):
            # The first user message goes on behind the cut: so it does in every turn.
            seen = bytes(body.prompt[:longest])
            return (seen, seen) if seen else None
        holder = PATHS[request.path].holder
        whole = mend(b'{"%b":%b' % (holder.encode(), bytes(body.prompt))) if body.cut else _decoded(request.body)
        try:
            prompt = read_prompt(request.path, whole or {}, longest)
        except Refused:
            return None
    return lengths_first(prompt.opening), prompt.edge_opening


# ------------------------------------------------------------------------------------------------------------- words


def _decoded(octets: Raw | bytes) -> Any:
    return _DECODER.decode(octets)


def _is_true(raw: Raw | None) -> bool:
    return raw is not None and bytes(raw) == b"true"


def _choice(settings: ParseSettings) -> str:
    more = len(settings.models) - _MODELS_SHOWN
    names = ", ".join(settings.models[:_MODELS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"one of {names}; GET /v1/models lists all"


def _complaint(body: bytes, error: ValueError) -> str:
    if not body:
        return "empty"
    if isinstance(error, msgspec.ValidationError):
        found = str(error).rpartition("got `")[2].rstrip("`")
        return f"JSON, but {_FOUND.get(found, 'a number')}"
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)[:_COMPLAINT]


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _invalid(message: str, *, param: str | None = None, code: str | None = None) -> Refused:
    return Refused(400, "invalid_request_error", message, param=param, code=code)
