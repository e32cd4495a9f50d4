"""What an operator may write in the five sections of stack.yml, with types, ranges and defaults.

A setting whose default is None is derived from others (see `derive`), so that changing one keeps the rest consistent.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stackplan import fields, images
from stackplan.fields import AbsolutePath, Address, Count, Env, FieldPath, Header, Name, Port, Seconds, Section
from stackplan.observe_settings import Observe

SESSION_HEADERS = [
    "x-session-id",  # the convention of routers and gateways; opencode sends it too
    "x-claude-code-session-id",  # Claude Code
    "session-id",  # Codex
    "x-session-affinity",  # opencode, pi
    "x-opencode-session",  # opencode and clients of its gateway
]
SESSION_FIELDS = ["prompt_cache_key", "conversation", "previous_response_id", "metadata.user_id", "user"]


class Build(Section):
    """How to build an image from this repository instead of pulling it."""

    context: str
    dockerfile: str = "Dockerfile"
    args: Env = {}


class Adapter(Section):
    """A LoRA adapter that every engine of a model loads when it starts; clients ask for it by its name."""

    name: Name
    source: Annotated[str, Field(pattern=fields.ADAPTER)]


class Model(Section):
    """One model to serve, under one public name, which may have others beside it."""

    name: Name
    aliases: list[Name] = []
    adapters: list[Adapter] = []
    source: Annotated[str, Field(pattern=fields.SOURCE)]
    revision: str | None = None
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    gpus_per_replica: Annotated[int, Field(ge=0, le=16)] | None = None
    max_model_len: Count | None = None
    hosts: list[str] = []
    weights_staged: bool = False
    image: str | None = None
    engine_args: list[str] = []
    env: Env = {}
    prefill_tokens_per_second: Count = 8000


class Engines(Section):
    """What all engines share."""

    device: Literal["gpu", "cpu"] = "gpu"
    gpu_injection: Literal["cdi", "runtime"] = "cdi"
    gpu_watch: bool = True
    gpu_watch_port: Port = 9401
    image: str | None = None
    base_port: Port = 8101
    kv_events_base_port: Port = 8601
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    cpu_kv_cache_gib: Count = 4
    cpu_threads_bind: str | None = None
    shared_memory: Annotated[str, Field(pattern=fields.MEMORY)] = "host"
    keep_alive_seconds: Seconds = 120
    sse_keep_alive_seconds: Annotated[int, Field(ge=0, le=300)] = 15
    hold_headers: bool = True
    trusted_fields: bool = True
    stuck_after_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    stuck_restarts: Annotated[int, Field(ge=1, le=100)] = 3
    shutdown_timeout_seconds: Seconds | None = None
    start_timeout_seconds: Seconds = 1800
    cache_directory: AbsolutePath = "/var/lib/ironrack"
    hub_token_enabled: bool = False
    api_key_enabled: bool = False
    args: list[str] = []
    env: Env = {}


class PriorityClass(Section):
    """Requests of one urgency: their share of the queue, and what the engine is told (lower goes first)."""

    name: Annotated[str, Field(pattern=fields.CLASS)]
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0


class Admission(Section):
    """How much an engine is given, and who waits for how long when all have enough. 0 is no limit."""

    max_wait_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    max_requests: Annotated[int, Field(ge=0)] = 0
    queue_capacity: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    queue_seconds: Seconds = 30
    retry_budget: Annotated[float, Field(ge=0, le=10)] = 0.2
    classes: Annotated[list[PriorityClass], Field(max_length=16)] = []


class Router(Section):
    """The deciders beside each edge."""

    image: str = images.ROUTER
    build: Build | None = None
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    spop_port: Port = 9901
    http_port: Port = 9902
    events_port: Port = 9903
    proxy_port: Port = 9904
    http_address: Address | None = None
    gate_seconds: Annotated[float, Field(ge=0, le=60)] | None = None
    kv_weight: Annotated[float, Field(ge=0, le=100)] = 0.05
    characters_per_token: Annotated[float, Field(gt=0, le=100)] = 4.0
    prefix_index: bool = True
    gossip: bool = False
    kv_events: bool = False
    admission: Admission = Admission()
    calibrate: bool = True
    calibrate_tokens: Annotated[int, Field(ge=16, le=131_072)] = 2048
    session_headers: list[Header] = SESSION_HEADERS
    session_fields: list[FieldPath] = SESSION_FIELDS
    session_capacity: Count = 170_000
    session_ttl_seconds: Seconds = 3600
    health_interval_seconds: Seconds = 1
    health_timeout_seconds: Seconds = 2
    health_fail_after: Count = 2
    health_rise_after: Count = 1
    stall_seconds: Annotated[float, Field(ge=0, le=3600)] = 4.0
    slow_start_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    sever_frozen: bool = True
    lease_capacity: Count = 100_000
    lease_ttl_seconds: Seconds | None = None
    drain_timeout_seconds: Seconds | None = None


class Timeouts(Section):
    """The one table of timeouts, outer before inner."""

    client_seconds: Seconds | None = None
    server_seconds: Seconds = 1800
    queue_seconds: Seconds = 60
    request_seconds: Seconds = 30
    keep_alive_seconds: Seconds = 60
    connect_seconds: Seconds = 2
    pool_idle_seconds: Seconds = 60
    decide_milliseconds: Annotated[int, Field(ge=5, le=5000)] = 50
    check_interval_seconds: Seconds = 1


class Tls(Section):
    """The certificate clients are shown; with neither a file nor `self_signed` the edge speaks plain HTTP."""

    certificate: AbsolutePath | None = None
    certificate_on: Literal["controller", "host"] = "controller"
    self_signed: bool = False
    hsts_seconds: Annotated[int, Field(ge=0, le=2 * 365 * 86400)] = 0
    redirect_port: Port | None = None
    acme_responder: Annotated[str, Field(pattern=fields.ENDPOINT)] | None = None


class Tenant(Section):
    """Who asks, known by keys of which only digests are written down. 0 is no limit; no models means all."""

    name: Annotated[str, Field(pattern=fields.TENANT)]
    key_hashes: list[Annotated[str, Field(pattern=fields.DIGEST)]]
    models: list[Name] = []
    requests_per_minute: Annotated[int, Field(ge=0)] = 0
    concurrency: Annotated[int, Field(ge=0)] = 0
    tokens_per_minute: Annotated[int, Field(ge=0)] = 0
    priority_class: str = ""
    cache_salt: bool = False


class AdminListener(Section):
    """The operators' own listener; without a token's digest there is none."""

    address: Address = "127.0.0.1"
    port: Port = 8406
    token_hash: Annotated[str, Field(pattern=fields.DIGEST)] | None = None


class Edge(Section):
    """HAProxy: where clients connect, and how much they may send."""

    image: str = images.EDGE
    haproxy_version: Annotated[str, Field(pattern=fields.VERSION)] = "3.0"
    bind_address: Address = "0.0.0.0"
    bind_port: Port = 8080
    metrics_address: Address | None = None
    metrics_port: Port = 8405
    runtime_socket: AbsolutePath = "/run/haproxy/admin.sock"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    maxconn: Count = 8192
    buffer_bytes: Annotated[int, Field(ge=16384, le=4 * 1024 * 1024)] = 131072
    max_body_bytes: Count = 16 * 1024 * 1024
    retries: Annotated[int, Field(ge=0, le=10)] = 3
    bindings_size: Count = 200_000
    bindings_ttl_seconds: Seconds = 3600
    tls: Tls = Tls()
    tenants: list[Tenant] = []
    admin: AdminListener = AdminListener()
    peers_port: Port = 10000
    timeouts: Timeouts = Timeouts()


class Settings(Section):
    """The five sections together, each valid in itself."""

    models: list[Model] = []
    engines: Engines = Engines()
    router: Router = Router()
    edge: Edge = Edge()
    observe: Observe = Observe()
