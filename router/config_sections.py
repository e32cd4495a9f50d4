"""The sections of `router.yml`: names, ranges and defaults. Durations are seconds; 0 and "" mean `none` where said."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

PER_REQUEST_IDS = frozenset({"x-request-id", "x-correlation-id", "traceparent", "tracestate", "idempotency-key"})
MOST_DECIDERS = 64


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[v6]:port`; ValueError says what is allowed."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError("host:port with a port from 0 (any free one) to 65535")
    return host.strip("[]"), int(port)


def _address(value: str) -> str:
    split_address(value)
    return value


def _optional_address(value: str) -> str:
    return _address(value) if value else ""


def _base_url(value: str) -> str:
    url = urlsplit(value)
    try:
        usable = url.scheme in {"http", "https"} and url.hostname and url.port and not url.path.strip("/")
    except ValueError:
        usable = False
    if not usable or url.query or url.fragment or url.username:
        raise ValueError("http://host:port, without a path")
    return value.rstrip("/")


def _optional_url(value: str) -> str:
    return _base_url(value) if value else ""


def _endpoint(value: str) -> str:
    kind, _, address = value.partition("://")
    if kind != "tcp" or not split_address(address)[1]:
        raise ValueError("tcp://host:port")
    return value


def _optional_endpoint(value: str) -> str:
    return _endpoint(value) if value else ""


def _session_header(value: str) -> str:
    if value.lower() in PER_REQUEST_IDS:
        raise ValueError("a header that stays the same over a session; this one changes with every request")
    return value.lower()


def _absolute_or_none(value: str) -> str:
    if value and not value.startswith("/"):
        raise ValueError("an absolute path, or nothing")
    return value


def _target(value: str) -> str:
    url = urlsplit(value)
    if value and (url.scheme not in {"http", "https"} or not url.hostname or not url.path.strip("/") or url.username):
        raise ValueError("http://host:4318/v1/traces, or nothing")
    return value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}$")]
Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(_optional_address)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
OptionalEndpoint = Annotated[str, AfterValidator(_optional_endpoint)]
Url = Annotated[str, AfterValidator(_base_url)]
OptionalUrl = Annotated[str, AfterValidator(_optional_url)]
Header = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$"), AfterValidator(_session_header)]
OptionalTarget = Annotated[str, AfterValidator(_target)]
BodyField = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]
OptionalPath = Annotated[str, AfterValidator(_absolute_or_none)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A mapping that refuses unknown keys and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Listen(Section):
    """Where the router answers. `proxy` empty: requests that only Python could serve are refused instead."""

    spop: Address = "127.0.0.1:9901"
    http: Address = "127.0.0.1:9902"
    events: Address = "127.0.0.1:9903"
    proxy: OptionalAddress = ""


class Decider(Section):
    """Which of an edge host's routers this is. `shared`: the folder in which they tell each other their load."""

    index: Annotated[int, Field(ge=0, lt=MOST_DECIDERS)] = 0
    of: Annotated[int, Field(ge=1, le=MOST_DECIDERS)] = 1
    shared: OptionalPath = ""


class Model(Section):
    """A model clients may name, HAProxy's backend for it, and what else may be asked for to get it.

    `aliases` are other names for the same thing; `adapters` are LoRA adapters that its engines load.
    """

    name: Name
    backend: Name
    aliases: list[Name] = []
    adapters: list[Name] = []


class KvFeed(Section):
    """Where an engine publishes its KV events, and where it says them again (empty: nowhere)."""

    endpoint: Endpoint
    replay: OptionalEndpoint = ""


class Engine(Section):
    """One engine: `name` is its server name in HAProxy. `max_requests` 0: what `admission` says.

    `kv_events`: needed from engines that are to be listened to, which `routing.kv_events` switches on.
    `gpu_watch`: base URL of its host's GPU watcher, which knows GPUs by the numbers in `gpus`; empty: there is none.
    """

    name: Name
    url: Url
    model: Name
    prefill_tokens_per_second: Seconds = 8000.0
    max_requests: CountOrNone = 0
    kv_events: KvFeed | None = None
    gpus: list[CountOrNone] = []
    gpu_watch: OptionalUrl = ""


class Routing(Section):
    """The cost rule: `gate_seconds` is how much dearer home may be before a session moves.

    `prefix_index`: remember what each engine's cache should hold beyond one session. `kv_events`: let engines tell.
    `gossip`: ask `peers` for their load even without KV events.
    """

    gate_seconds: SecondsOrNone = 0.25
    kv_weight: SecondsOrNone = 0.05
    characters_per_token: Seconds = 4.0
    prefix_index: bool = True
    kv_events: bool = False
    gossip: bool = False


class PriorityClass(Section):
    """Requests of one urgency. `weight`: share of the queue; `priority`: what vLLM is told, lower goes first."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0


class Admission(Section):
    """How much an engine is given, and who waits for how long when all have enough.

    `max_wait_seconds`: prefill work an engine may have waiting; `max_requests`: requests at one engine; 0: no limit.
    `queue_capacity`: requests that may wait here, 0: none waits. `retry_budget`: retries per request, over a while.
    The first class is that of requests which name none.
    """

    max_wait_seconds: SecondsOrNone = 0.0
    max_requests: CountOrNone = 0
    queue_capacity: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    queue_seconds: Seconds = 30.0
    retry_budget: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.2
    classes: Annotated[list[PriorityClass], Field(min_length=1, max_length=16)] = [PriorityClass(name="default")]


class Tenant(Section):
    """One client. `models` empty: all; `tokens_per_minute` 0: no limit; `class` empty: the first one.

    `salted`: the edge gives its prompts a salt, so that what engines cache of them is not what the tokens say.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    models: list[Name] = []
    tokens_per_minute: CountOrNone = 0
    priority_class: Annotated[str, Field(alias="class")] = ""
    salted: bool = False


class Sessions(Section):
    """What a session's key is taken from, first found first, and how many are remembered for how long."""

    headers: list[Header] = []
    fields: list[BodyField] = ["prompt_cache_key", "conversation", "previous_response_id", "metadata.user_id", "user"]
    capacity: Count = 170_000
    ttl_seconds: Seconds = 3600.0


class Health(Section):
    """How engines are probed. `stall_seconds`: with work and no progress for so long, an engine hangs; 0: never.

    `slow_start_seconds`: over how long an engine that came back gets its full share again; 0: at once.
    """

    interval_seconds: Seconds = 1.0
    timeout_seconds: Seconds = 2.0
    fail_after: Count = 2
    rise_after: Count = 1
    stall_seconds: SecondsOrNone = 4.0
    slow_start_seconds: SecondsOrNone = 30.0


class Leases(Section):
    """When a request whose end was never heard of is written off."""

    ttl_seconds: Seconds = 3700.0
    capacity: Count = 100_000


class Calibrate(Section):
    """Measure each engine's prefill rate with one prompt of so many tokens when it comes up."""

    enabled: bool = False
    tokens: Annotated[int, Field(ge=16, le=131_072)] = 2048


class Edge(Section):
    """What the router must know of the edge. `runtime_socket`: HAProxy's own, empty: it is not used."""

    buffer_bytes: Annotated[int, Field(ge=1024, le=16_777_216)] = 131_072
    runtime_socket: OptionalPath = ""


class Proxy(Section):
    """Requests that are read whole here. Sizes in bytes, one body and all together; times as at the edge.

    `server_seconds`: silence of an engine; `request_seconds`: for a body to come, and before it for room to hold it.
    """

    max_body_bytes: Count = 16_777_216
    spool_bytes: Count = 268_435_456
    retries: CountOrNone = 3
    connect_seconds: Seconds = 2.0
    server_seconds: Seconds = 1800.0
    request_seconds: Seconds = 30.0


class Log(Section):
    """`decisions`: one JSON line on stdout for every completed request."""

    decisions: bool = True


class Traces(Section):
    """Where spans go, over OTLP with HTTP, and how many requests may wait for that. `endpoint` empty: no traces."""

    endpoint: OptionalTarget = ""
    capacity: Annotated[int, Field(ge=1, le=1_000_000)] = 2048


class Settings(Section):
    """The whole of `router.yml`."""

    listen: Listen = Listen()
    decider: Decider = Decider()
    peers: list[Url] = []
    models: Annotated[list[Model], Field(min_length=1)]
    engines: Annotated[list[Engine], Field(min_length=1)]
    routing: Routing = Routing()
    admission: Admission = Admission()
    tenants: list[Tenant] = []
    sessions: Sessions = Sessions()
    health: Health = Health()
    leases: Leases = Leases()
    calibrate: Calibrate = Calibrate()
    edge: Edge = Edge()
    proxy: Proxy = Proxy()
    engine_key_file: OptionalPath = ""
    log: Log = Log()
    traces: Traces = Traces()
