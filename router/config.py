"""`router.yml`, typed: read whole, every problem told at once, nothing half applied.

A problem reads `router.yml: engines[2].url: found 'x': allowed http://host:port; …` and names the nearest right word
where there is one.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from router.admission import PriorityClass, RoomSettings
from router.config_contradictions import contradictions
from router.config_problems import problem
from router.config_sections import Settings, split_address
from router.door import DoorSettings
from router.errors import SettingsInvalid
from router.fleet import EngineSettings, FleetSettings
from router.forward import Times
from router.gpu_faults import Watched
from router.parse import ParseSettings
from router.pick import Rule
from router.proxy import ProxySettings
from router.spop import Limits
from router.tenants import TenantSettings

__all__ = [
    "Settings",
    "check",
    "content",
    "fleet_settings",
    "load",
    "loads",
    "parse_settings",
    "proxy_settings",
    "split_address",
    "spop_limits",
]


def load(path: Path) -> Settings:
    """Read and check a settings file; SettingsInvalid carries every problem, prefixed with the file's name."""
    return loads(content(path), path.name)


def content(path: Path) -> bytes:
    """Return a file's bytes. SettingsInvalid says why there are none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsInvalid((f"{path}: found {error.strerror}: allowed a readable file; check the path",)) from error


def loads(octets: bytes, name: str) -> Settings:
    """Check the content of the settings file `name`; SettingsInvalid carries every problem, prefixed with its name."""
    try:
        # The C parser reads the file of a large fleet in a tenth of the time; not every build of the library has it.
        raw = yaml.load(octets.decode(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        found = " ".join(str(error).split())
        raise SettingsInvalid((f"{name}: found {found}: allowed YAML; correct that line",)) from error
    try:
        return check(raw)
    except SettingsInvalid as error:
        raise SettingsInvalid(tuple(f"{name}: {problem}" for problem in error.problems)) from error


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
        names={name: model.name for model in settings.models for name in (*model.aliases, *model.adapters)},
    )


def fleet_settings(settings: Settings) -> FleetSettings:
    """Return what the owner of engines, leases and bindings needs."""
    return FleetSettings(
        engines=tuple(
            EngineSettings(engine.name, engine.url, engine.model, engine.prefill_tokens_per_second, engine.max_requests)
            for engine in settings.engines
        ),
        rule=Rule(settings.routing.gate_seconds, settings.routing.kv_weight),
        bindings_capacity=settings.sessions.capacity,
        bindings_ttl_seconds=settings.sessions.ttl_seconds,
        leases_capacity=settings.leases.capacity,
        leases_ttl_seconds=settings.leases.ttl_seconds,
        probe_fail_after=settings.health.fail_after,
        probe_rise_after=settings.health.rise_after,
        max_wait_seconds=settings.admission.max_wait_seconds,
        max_requests=settings.admission.max_requests,
        stall_seconds=settings.health.stall_seconds,
        slow_start_seconds=settings.health.slow_start_seconds,
        index_enabled=settings.routing.prefix_index,
        characters_per_token=settings.routing.characters_per_token,
    )


def watched(settings: Settings) -> tuple[Watched, ...]:
    """Return the engines whose GPUs somebody watches."""
    return tuple(
        Watched(engine.name, engine.url, engine.gpu_watch, frozenset(engine.gpus))
        for engine in settings.engines
        if engine.gpu_watch
    )


def proxy_settings(settings: Settings, engine_key: str = "") -> ProxySettings:
    """Return what the HTTP side needs that carries requests itself; `engine_key` is what engines want to see."""
    mine = settings.proxy
    return ProxySettings(
        parse=parse_settings(settings),
        headers=tuple(settings.sessions.headers),
        times=Times(mine.connect_seconds, mine.server_seconds),
        retries=mine.retries,
        max_body_bytes=mine.max_body_bytes,
        spool_bytes=mine.spool_bytes,
        request_seconds=mine.request_seconds,
        engine_key=engine_key,
    )


def door_settings(settings: Settings) -> DoorSettings:
    """Return what the owner of the waiting room, the tenants' tokens and the retry budget needs."""
    classes = tuple(PriorityClass(each.name, each.weight, each.priority) for each in settings.admission.classes)
    tenants = (
        TenantSettings(each.name, frozenset(each.models), each.tokens_per_minute, each.priority_class)
        for each in settings.tenants
    )
    return DoorSettings(
        RoomSettings(settings.admission.queue_capacity, settings.admission.queue_seconds, classes),
        tuple(tenants),
        settings.admission.retry_budget,
        {engine.name: engine.model for engine in settings.engines},
    )


def spop_limits(settings: Settings) -> Limits:
    """Return what one SPOP connection may hold: a frame is at most the edge's buffer, a question a few of them."""
    return Limits(frame=settings.edge.buffer_bytes, payload=4 * settings.edge.buffer_bytes)
