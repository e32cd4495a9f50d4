"""A completed request in one line: what the edge tells, and what the router writes. Apart as `router.values` is."""

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False):
    """One access line; keys that are missing or unknown do no harm. Times are milliseconds, -1 for `never`.

    `lease`: the edge's own name for the request, because clients may send one `id` many times. `decider`: the index of
    the router that was asked, -1 when none was. `slot`: of the one to which the session belongs. `queued_ms` counts
    from the request's headers on: waiting for its body, for the router, in the waiting room, for a slot. `usage`:
    tokens as the engine counted them, as the text `prompt,cached,completion`, or nothing. `served`: the engine of a
    request that the router carried itself. `stick`: the session as the edge names it.
    `trace`, `parent` (hex), `sampled` (`1`), `ended_us` (Unix time): only where traces are wanted.
    """

    id: str
    lease: str = ""
    ts: float = 0.0
    client: str = ""
    method: str = ""
    path: str = ""
    status: int = 0
    backend: str = ""
    server: str = ""
    chosen: str = ""
    why: str = ""
    model: str = ""
    source: str = ""
    tenant: str = "-"
    priority_class: str = msgspec.field(default="", name="class")
    decider: int = -1
    slot: int = 0
    state: str = "--"
    retries: int | str = 0
    queued_ms: int = -1
    connect_ms: int = -1
    headers_ms: int = -1
    total_ms: int = -1
    bytes_in: int = 0
    bytes_out: int = 0
    usage: str = ""
    served: str = ""
    stick: str = ""
    trace: str = ""
    parent: str = ""
    sampled: str = ""
    ended_us: int = 0


class Line(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is written for each completed request: the edge's event, joined with the decision."""

    ts: float
    id: str
    model: str
    path: str
    status: int
    engine: str
    chosen: str
    why: str
    source: str
    state: str
    retries: int
    headers_ms: int
    total_ms: int
    bytes_out: int
    lease: str = ""
    prompt_tokens: int | None = None
    uncached_tokens: int | None = None
    cost_ms: float | None = None
    tenant: str = "-"
    priority_class: str = msgspec.field(default="", name="class")
    trace: str = ""
