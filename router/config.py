"""`router.yml`, typed: read whole, every problem told at once, nothing half applied.

A problem reads `router.yml: engines[2].url: found 'x': allowed http://host:port; …` and names the nearest right word
where there is one.
"""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from router.config_problems import contradictions, problem
from router.errors import SettingsInvalid
from router.fleet import EngineSettings, FleetSettings
from router.parse import ParseSettings
from router.pick import Rule
from router.spop import Limits

PER_REQUEST_IDS = frozenset({"x-request-id", "x-correlation-id", "traceparent", "tracestate", "idempotency-key"})


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[v6]:port`; ValueError says what is allowed."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError("host:port with a port from 0 (any free one) to 65535")
    return host.strip("[]"), int(port)


def _address(value: str) -> str:
    split_address(value)
    return value


def _engine_url(value: str) -> str:
    url = urlsplit(value)
    try:
        usable = url.scheme in {"http", "https"} and url.hostname and url.port and not url.path.strip("/")
    except ValueError:
        usable = False
    if not usable or url.query or url.fragment or url.username:
        raise ValueError("http://host:port, without a path")
    return value.rstrip("/")


def _session_header(value: str) -> str:
    if value.lower() in PER_REQUEST_IDS:
        raise ValueError("a header that stays the same over a session; this one changes with every request")
    return value.lower()


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}$")]
Address = Annotated[str, AfterValidator(_address)]
Url = Annotated[str, AfterValidator(_engine_url)]
Header = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$"), AfterValidator(_session_header)]
BodyField = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Listen(_Section):
    """Where the router answers."""

    spop: Address = "127.0.0.1:9901"
    http: Address = "127.0.0.1:9902"
    events: Address = "127.0.0.1:9903"


class Model(_Section):
    """A model clients may name, and HAProxy's backend for it."""

    name: Name
    backend: Name


class Engine(_Section):
    """One engine: `name` is its server name in HAProxy."""

    name: Name
    url: Url
    model: Name
    prefill_tokens_per_second: Seconds = 8000.0


class Routing(_Section):
    """The cost rule: `gate_seconds` is how much dearer home may be before a session moves."""

    gate_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.25
    kv_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05
    characters_per_token: Seconds = 4.0


class Sessions(_Section):
    """What a session's key is taken from, first found first, and how many are remembered for how long."""

    headers: list[Header] = []
    fields: list[BodyField] = ["prompt_cache_key", "conversation", "previous_response_id", "metadata.user_id", "user"]
    capacity: Count = 200_000
    ttl_seconds: Seconds = 3600.0


class Health(_Section):
    """How engines are probed."""

    interval_seconds: Seconds = 2.0
    timeout_seconds: Seconds = 5.0
    fail_after: Count = 3
    rise_after: Count = 1


class Leases(_Section):
    """When a request whose end was never heard of is written off."""

    ttl_seconds: Seconds = 3700.0
    capacity: Count = 100_000


class Edge(_Section):
    """What the router must know of the edge."""

    buffer_bytes: Annotated[int, Field(ge=1024, le=16_777_216)] = 131_072


class Log(_Section):
    """`decisions`: one JSON line on stdout for every completed request."""

    decisions: bool = True


class Settings(_Section):
    """The whole of `router.yml`."""

    listen: Listen = Listen()
    models: Annotated[list[Model], Field(min_length=1)]
    engines: Annotated[list[Engine], Field(min_length=1)]
    routing: Routing = Routing()
    sessions: Sessions = Sessions()
    health: Health = Health()
    leases: Leases = Leases()
    edge: Edge = Edge()
    log: Log = Log()


def load(path: Path) -> Settings:
    """Read and check a settings file; SettingsInvalid carries every problem, prefixed with the file's name."""
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsInvalid((f"{path}: found {error.strerror}: allowed a readable file; check the path",)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        found = " ".join(str(error).split())
        raise SettingsInvalid((f"{path}: found {found}: allowed YAML; correct that line",)) from error
    try:
        return check(raw)
    except SettingsInvalid as error:
        raise SettingsInvalid(tuple(f"{path.name}: {problem}" for problem in error.problems)) from error


def check(raw: Any) -> Settings:
    """Turn parsed YAML into Settings; SettingsInvalid carries every problem of shape and every contradiction."""
    problems: list[str] = []
    settings = None
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        problems += [problem(Settings, details) for details in error.errors(include_url=False, include_context=False)]
    if isinstance(raw, dict):
        problems += contradictions(raw)
    if settings is None or problems:
        raise SettingsInvalid(tuple(problems))
    return settings


# ------------------------------------------------------------------------------- what each part of the router needs


def parse_settings(settings: Settings) -> ParseSettings:
    """Return what reading a request needs."""
    return ParseSettings(
        models=tuple(model.name for model in settings.models),
        fields=tuple(settings.sessions.fields),
        characters_per_token=settings.routing.characters_per_token,
        buffer_bytes=settings.edge.buffer_bytes,
    )


def fleet_settings(settings: Settings) -> FleetSettings:
    """Return what the owner of engines, leases and bindings needs."""
    return FleetSettings(
        engines=tuple(
            EngineSettings(engine.name, engine.url, engine.model, engine.prefill_tokens_per_second)
            for engine in settings.engines
        ),
        rule=Rule(settings.routing.gate_seconds, settings.routing.kv_weight),
        bindings_capacity=settings.sessions.capacity,
        bindings_ttl_seconds=settings.sessions.ttl_seconds,
        leases_capacity=settings.leases.capacity,
        leases_ttl_seconds=settings.leases.ttl_seconds,
        probe_fail_after=settings.health.fail_after,
        probe_rise_after=settings.health.rise_after,
    )


def spop_limits(settings: Settings) -> Limits:
    """Return what one SPOP connection may hold: a frame is at most the edge's buffer, a question a few of them."""
    return Limits(frame=settings.edge.buffer_bytes, payload=4 * settings.edge.buffer_bytes)
