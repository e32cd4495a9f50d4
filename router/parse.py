"""A request's headers and body → what the decision needs to know of it. Pure; reads the JSON once."""

from dataclasses import dataclass

import msgspec
import xxhash

from router.errors import Refused, shown


@dataclass(frozen=True, slots=True)
class Request:
    """What the edge saw. `size`: the body's whole length in bytes; `body`: as much of it as was buffered.

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


@dataclass(frozen=True, slots=True)
class ParseSettings:
    """Served models, body fields that name a session (dotted paths, first found wins), and two sizes."""

    models: tuple[str, ...]
    fields: tuple[str, ...] = ()
    characters_per_token: float = 4.0
    buffer_bytes: int = 131072


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as the decision sees it.

    `key`: the session within tenant and model, unsigned 64 bits. `stick`: the same session as the edge
    hashes it for its own tables, a signed decimal. `source`: where the key came from.
    """

    id: str
    model: str
    key: int
    stick: str
    source: str
    tenant: str
    prompt_tokens: int
    stream: bool


def parse(request: Request, settings: ParseSettings) -> Ask:
    """Read one request. Raises Refused (400, 404, 405, 413); nothing a client sends raises anything else."""
    try:
        body = msgspec.json.decode(request.body)
        model = body["model"]
    except Exception as error:
        raise Refused(400, "invalid_request_error", "body: not a JSON object with a model") from error
    if model not in settings.models:
        raise Refused(404, "not_found_error", f"model: {shown(str(model))} is not served here", param="model")
    key = xxhash.xxh64_intdigest(request.session or request.body)
    return Ask(
        request.id, model, key, str(key), request.source or "fingerprint", request.tenant, len(request.body), False
    )
