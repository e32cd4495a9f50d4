"""The values that travel on a request's way: made once, changed nowhere.

Their constructors are written out, because one that `dataclass` makes is interpreted even where the class is compiled;
no value is part of a circle, so the garbage collector need not know them: see `docs/adr/0026-compiled-decisions.md`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mypy_extensions import mypyc_attr

from router.errors import Refused

_NO_NAMES: Mapping[str, str] = {}
_NO_RATIOS: Mapping[str, float] = {}

# -------------------------------------------------------------------------------------------------------- a request


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class Request:
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
    priority_class: str

    def __init__(
        self,
        id: str,
        method: str,
        path: str,
        content_type: str,
        session: str,
        source: str,
        tenant: str,
        size: int,
        body: bytes,
        priority_class: str = "",
    ) -> None:
        self.id = id
        self.method = method
        self.path = path
        self.content_type = content_type
        self.session = session
        self.source = source
        self.tenant = tenant
        self.size = size
        self.body = body
        self.priority_class = priority_class


@dataclass(frozen=True, slots=True)
class ParseSettings:
    """Served models, body fields that name a session (dotted paths, first found wins), and sizes.

    `buffer_bytes`: the edge's buffer, the most of a body that is ever seen. `names`: public name → model, for the
    adapters and aliases that may be asked for. `ratios`: what was learnt of a model's octets per token; may change at
    any time, `characters_per_token` counts for models that are not in it.
    """

    models: tuple[str, ...]
    fields: tuple[str, ...] = ()
    characters_per_token: float = 4.0
    buffer_bytes: int = 131072
    names: Mapping[str, str] = field(default_factory=lambda: _NO_NAMES)
    ratios: Mapping[str, float] = field(default_factory=lambda: _NO_RATIOS)


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class Ask:
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
    blocks: tuple[int, ...]
    ends: tuple[int, ...]
    adapter: str
    previous: int
    priority_class: str

    def __init__(
        self,
        id: str,
        model: str,
        key: int,
        stick: str,
        source: str,
        tenant: str,
        prompt_tokens: int,
        stream: bool,
        blocks: tuple[int, ...] = (),
        ends: tuple[int, ...] = (),
        adapter: str = "",
        previous: int = 0,
        priority_class: str = "",
    ) -> None:
        self.id = id
        self.model = model
        self.key = key
        self.stick = stick
        self.source = source
        self.tenant = tenant
        self.prompt_tokens = prompt_tokens
        self.stream = stream
        self.blocks = blocks
        self.ends = ends
        self.adapter = adapter
        self.previous = previous
        self.priority_class = priority_class


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class Prompt:
    """`opening`: how the conversation began, text by text. `edge_opening`: the same as the edge can see it.

    The prompt is `characters` of text and `tokens` that are no text (images by estimate, token ids by count); what is
    read before it, system and tools, is not among them.
    """

    opening: list[bytes]
    edge_opening: bytes
    characters: int
    tokens: int

    def __init__(self, opening: list[bytes], edge_opening: bytes, characters: int, tokens: int) -> None:
        self.opening = opening
        self.edge_opening = edge_opening
        self.characters = characters
        self.tokens = tokens


# ------------------------------------------------------------------------------------------------------- a decision


class Why(StrEnum):
    """The reason a request went where it went; the edge adds `fallback` and `retry` for its own choices."""

    HOME = "home"
    NEW = "new"
    SPILL = "spill"
    DRAIN = "drain"
    EJECT = "eject"
    FALLBACK = "fallback"
    RETRY = "retry"


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class EngineView:
    """One engine as a decision sees it.

    `uncached_in_flight`: prefill tokens sent there whose first byte has not come. `in_flight`: requests.
    `kv_usage`: share of its KV cache in use, 0…1. `epoch` counts the lives of its cache.
    `available`: may be given work as far as its health goes; `draining`: an operator wants it empty.
    `full`: it is at its admission cap.
    """

    name: str
    uncached_in_flight: int
    in_flight: int
    prefill_tokens_per_second: float
    kv_usage: float
    available: bool
    draining: bool
    epoch: int
    full: bool

    def __init__(
        self,
        name: str,
        uncached_in_flight: int,
        in_flight: int,
        prefill_tokens_per_second: float,
        kv_usage: float = 0.0,
        available: bool = True,
        draining: bool = False,
        epoch: int = 0,
        full: bool = False,
    ) -> None:
        self.name = name
        self.uncached_in_flight = uncached_in_flight
        self.in_flight = in_flight
        self.prefill_tokens_per_second = prefill_tokens_per_second
        self.kv_usage = kv_usage
        self.available = available
        self.draining = draining
        self.epoch = epoch
        self.full = full


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class Belief:
    """What one engine is believed to hold of a session: the first `tokens` of its prompt, in cache life `epoch`."""

    engine: str
    epoch: int
    tokens: int

    def __init__(self, engine: str, epoch: int, tokens: int) -> None:
        self.engine = engine
        self.epoch = epoch
        self.tokens = tokens


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class Binding:
    """A session's home and what engines are believed to hold of it.

    `strict`: the home keeps what the request cannot do without, such as the response it continues.
    """

    home: str
    beliefs: tuple[Belief, ...]
    strict: bool

    def __init__(self, home: str, beliefs: tuple[Belief, ...] = (), strict: bool = False) -> None:
        self.home = home
        self.beliefs = beliefs
        self.strict = strict


@dataclass(frozen=True, slots=True)
class Rule:
    """The routing rule's two numbers: `gate_seconds`, and `kv_weight` in seconds."""

    gate_seconds: float = 0.25
    kv_weight: float = 0.05


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class Choice:
    """The engine, why, what it must still compute, its price in seconds; `rebind`: it becomes the home."""

    engine: str
    why: Why
    uncached_tokens: int
    cost_seconds: float
    rebind: bool

    def __init__(self, engine: str, why: Why, uncached_tokens: int, cost_seconds: float, rebind: bool) -> None:
        self.engine = engine
        self.why = why
        self.uncached_tokens = uncached_tokens
        self.cost_seconds = cost_seconds
        self.rebind = rebind


# ---------------------------------------------------------------------------------------------------------- waiting

# A line: the model, and the engine where only that one would do.
Place = tuple[str, str]
# What the one who waited is told: an engine, a refusal, or nothing, when deciding itself broke.
Reply = Callable[["Waiting", "Ticket | Refused | None"], None]


@dataclass(frozen=True, slots=True)
class PriorityClass:
    """Requests of one urgency. `weight`: share of what gets in; `priority`: what vLLM is told, lower goes first."""

    name: str
    weight: int = 1
    priority: int = 0


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True)
class Ticket:
    """One request let in: its engine, what vLLM is told of its urgency, and whether it may be tried again."""

    choice: Choice
    priority: int
    retries: bool

    def __init__(self, choice: Choice, priority: int = 0, retries: bool = True) -> None:
        self.choice = choice
        self.priority = priority
        self.retries = retries


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True, eq=False)
class Waiting:
    """One request in the room. `since`: announced or entered, monotonic seconds; `reply` is set when it has entered.

    `line`: where it stands. `request_id`: as the client knows it.
    """

    ask: Ask
    line: Place
    priority_class: str
    since: float
    request_id: str
    reply: Reply | None

    def __init__(
        self,
        ask: Ask,
        line: Place,
        priority_class: str,
        since: float,
        request_id: str = "",
        reply: Reply | None = None,
    ) -> None:
        self.ask = ask
        self.line = line
        self.priority_class = priority_class
        self.since = since
        self.request_id = request_id
        self.reply = reply
