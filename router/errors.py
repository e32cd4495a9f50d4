"""Everything the router raises on purpose, and how a client sees it.

RouterError                 catch this at the outermost edge, nothing wider
├── Refused                 a request gets an HTTP error instead of an engine
│   ├── NoEngine            … because no engine can serve its model now (503)
│   ├── Saturated           … because every engine of its model is at its cap (429); it may wait for room first
│   ├── QueueFull           … because as many wait for room as may (429)
│   ├── QueueTimeout        … because it waited for room as long as it may (429)
│   ├── ModelNotAllowed     … because its tenant may not use that model (403)
│   └── TokensSpent         … because its tenant has used its tokens of this minute (429)
├── NeedsProxy              only the HTTP side can serve it: what decides stands beyond the edge's buffer
├── UnknownEngine           an admin named an engine that is not configured
└── SettingsInvalid         router.yml has problems; all of them at once
"""

import msgspec

_SHOWN = 64


class RouterError(Exception):
    """Base of everything the router raises on purpose."""


class Refused(RouterError):
    """A request that gets an answer of ours: `status`, an OpenAI-shaped reason, and when to come back.

    `kind` is OpenAI's error type without its producer (`invalid_request_error`, `not_found_error`, …).
    `retry_after` is in whole seconds; only 429 and 503 carry it. `model`: the one asked for, where it is known.
    """

    model = ""

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after


class NoEngine(Refused):
    """No engine of `model` may be given work now; `seen` says what there is instead, for the message."""

    def __init__(self, model: str, seen: str = "none is ready", retry_after: int = 5) -> None:
        super().__init__(
            503,
            "service_unavailable_error",
            f"model: no engine can serve {shown(model)} now ({seen}): try again in {retry_after} s",
            param="model",
            code="no_engine",
            retry_after=retry_after,
        )
        self.model = model


class Saturated(Refused):
    """Every engine of `model` that may be given work is at its cap. `engine`: only that one would do, and it is."""

    def __init__(self, model: str, retry_after: int = 1, engine: str = "") -> None:
        super().__init__(
            429,
            "rate_limit_error",
            f"model: every engine of {shown(model)} is at its cap: try again in {retry_after} s",
            param="model",
            code="saturated",
            retry_after=retry_after,
        )
        self.model = model
        self.engine = engine


class QueueFull(Refused):
    """As many requests wait for an engine as may; `retry_after` is when those before are served, as it goes now."""

    def __init__(self, model: str, waiting: int, retry_after: int) -> None:
        super().__init__(
            429,
            "rate_limit_error",
            f"queue: {waiting} requests wait for engines, as many as may; every engine of {shown(model)} is at its "
            f"cap: try again in {retry_after} s",
            param="model",
            code="queue_full",
            retry_after=retry_after,
        )
        self.model = model


class QueueTimeout(Refused):
    """No engine had room for this request while it waited `seconds`."""

    def __init__(self, model: str, seconds: float, retry_after: int) -> None:
        super().__init__(
            429,
            "rate_limit_error",
            f"queue: waited {seconds:g} s, and every engine of {shown(model)} is still at its cap: "
            f"try again in {retry_after} s",
            param="model",
            code="queue_timeout",
            retry_after=retry_after,
        )
        self.model = model


class ModelNotAllowed(Refused):
    """A tenant asked for a model that its list does not hold."""

    def __init__(self, tenant: str, model: str) -> None:
        super().__init__(
            403,
            "permission_error",
            f"model: {shown(model)} is not allowed for tenant {shown(tenant)}: GET /v1/models lists what is; "
            "ask the operator",
            param="model",
            code="model_not_allowed",
        )
        self.model = model


class TokensSpent(Refused):
    """A tenant's tokens of this minute are used up; `retry_after` is when there are enough for this request."""

    def __init__(self, tenant: str, per_minute: int, retry_after: int) -> None:
        super().__init__(
            429,
            "rate_limit_error",
            f"tokens: tenant {shown(tenant)} has used its {per_minute} tokens a minute: try again in {retry_after} s",
            code="tokens_per_minute",
            retry_after=retry_after,
        )


class NeedsProxy(RouterError):
    """The part of the body that decides was not seen: the whole of it must be read by the HTTP side."""


class UnknownEngine(RouterError):
    """An engine name that the configuration does not hold."""

    def __init__(self, name: str) -> None:
        super().__init__(f"engine: {shown(name)} is not configured: GET /admin/engines lists the names")
        self.name = name


class SettingsInvalid(RouterError):
    """Settings that cannot be used; `problems` holds every one of them, ready to print."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def shown(value: str) -> str:
    """A client's own text, quoted and cut, so that a message stays one short line whatever was sent."""
    cut = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
    return ascii(cut) if not cut.isprintable() else repr(cut)


def openai_body(refused: Refused, request_id: str, producer: str = "router") -> bytes:
    """The JSON a client of the OpenAI API understands; `type` says which part of the stack wrote it."""
    error = {
        "message": refused.message,
        "type": f"{producer}_{refused.kind}",
        "param": refused.param,
        "code": refused.code,
    }
    return msgspec.json.encode({"error": error, "request_id": request_id})
