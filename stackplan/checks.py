"""Cross checks: what is well-formed, section by section, and still cannot work together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from stackplan import engines as vllm
from stackplan import images
from stackplan.derive import slug
from stackplan.grafana import grafana_problems
from stackplan.guard_checks import guard_problems
from stackplan.model import Host
from stackplan.observe_checks import observe_problems
from stackplan.settings import Settings
from stackplan.slo_checks import slo_problems

PER_REQUEST_HEADERS = {"x-request-id", "x-correlation-id", "x-trace-id", "traceparent", "x-client-request-id"}
SECRET_NAMES = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "VLLM_API_KEY", "OPENAI_API_KEY"}


def cross_checks(settings: Settings, hosts: Sequence[Host]) -> list[str]:
    """Every contradiction in derived settings, in the order of the file."""
    return [
        *_models(settings),
        *_names(settings),
        *_pins(settings, hosts),
        *_gpus(settings),
        *_engine_arguments(settings),
        *_secrets(settings),
        *_images(settings),
        *_sessions(settings),
        *_timeouts(settings),
        *_sizes(settings),
        *_kv_events(settings),
        *guard_problems(settings),
        *slo_problems(settings),
        *grafana_problems(settings),
        *observe_problems(settings.observe),
        *_groups(hosts),
        *_addresses(hosts),
    ]


def _models(settings: Settings) -> Iterator[str]:
    if not settings.models:
        yield "stack_models: no model was found: at least one is needed; add a model with name and source"
    seen: dict[str, int] = {}
    for index, model in enumerate(settings.models):
        where = f"stack_models[{index}]"
        first = seen.setdefault(slug(model.name), index)
        if first != index:
            yield (
                f"{where}.name: {model.name!r} was found, as in stack_models[{first}]: container, backend and engine "
                "names come from it and must differ; rename one"
            )
        if model.replicas == 0:
            yield f"{where}.replicas: 0 was found: at least 1 is needed to serve it; raise it or drop the model"


def _names(settings: Settings) -> Iterator[str]:
    """Whatever clients may ask for must mean one thing."""
    seen: dict[str, str] = {}
    for index, model in enumerate(settings.models):
        seen.setdefault(model.name, f"stack_models[{index}].name")
    for index, model in enumerate(settings.models):
        others = [(f"aliases[{at}]", alias) for at, alias in enumerate(model.aliases)]
        others += [(f"adapters[{at}].name", adapter.name) for at, adapter in enumerate(model.adapters)]
        for key, name in others:
            where = f"stack_models[{index}].{key}"
            first = seen.setdefault(name, where)
            if first != where:
                yield f"{where}: {name!r} was found, as in {first}: a name must mean one thing; rename one"


def _pins(settings: Settings, hosts: Sequence[Host]) -> Iterator[str]:
    engines = [host.name for host in hosts if "engines" in host.groups]
    for index, model in enumerate(settings.models):
        for name in dict.fromkeys(model.hosts):
            if name not in engines:
                yield (
                    f"stack_models[{index}].hosts: {name!r} was found: allowed are the hosts of group engines "
                    f"({', '.join(engines) or 'none'}); correct the name or add the host to the group"
                )


def _gpus(settings: Settings) -> Iterator[str]:
    for index, model in enumerate(settings.models):
        where = f"stack_models[{index}].gpus_per_replica"
        asked = model.gpus_per_replica or 0
        if settings.engines.device == "cpu" and asked:
            yield f"{where}: {asked} was found with stack_engines.device cpu: allowed is 0; remove it or set gpu"
        elif settings.engines.device == "gpu" and not asked:
            yield f"{where}: 0 was found with stack_engines.device gpu: at least 1 is needed; set it or device: cpu"


def _engine_arguments(settings: Settings) -> Iterator[str]:
    lists = [("stack_engines.args", settings.engines.args)]
    lists += [(f"stack_models[{i}].engine_args", model.engine_args) for i, model in enumerate(settings.models)]
    for where, args in lists:
        for flag in vllm.owned_flags(args):
            yield f"{where}: {flag.split('=')[0]} was found: the plan sets it from its own settings; remove it here"


def _secrets(settings: Settings) -> Iterator[str]:
    envs = [("stack_engines.env", settings.engines.env)]
    envs += [(f"stack_models[{i}].env", model.env) for i, model in enumerate(settings.models)]
    for where, env in envs:
        for name in sorted(SECRET_NAMES & set(env)):
            yield (
                f"{where}.{name}: a secret was found: it would show in compose.yml and docker inspect; "
                "keep it in the vault, as engine_hub_token or engine_api_key, and set stack_engines.hub_token_enabled "
                "or api_key_enabled"
            )


def _images(settings: Settings) -> Iterator[str]:
    named = [
        ("stack_engines.image", settings.engines.image or ""),
        ("stack_router.image", settings.router.image),
        ("stack_edge.image", settings.edge.image),
        ("stack_observe.prometheus_image", settings.observe.prometheus_image),
        ("stack_observe.alertmanager_image", settings.observe.alertmanager_image),
        ("stack_observe.node_exporter_image", settings.observe.node_exporter_image),
        ("stack_observe.gpu_exporter_image", settings.observe.gpu_exporter_image),
    ]
    own = [(f"stack_models[{i}].image", m.image or "") for i, m in enumerate(settings.models)]
    named += [(where, image) for where, image in own if image != settings.engines.image]
    for where, image in named:
        if reason := images.trouble(image):
            yield f"{where}: {image!r} was found, {reason}: allowed is name:tag or name@sha256:…; pin it"


def _sessions(settings: Settings) -> Iterator[str]:
    where = "stack_router.session_headers"
    headers = settings.router.session_headers
    for header in sorted(PER_REQUEST_HEADERS & set(headers)):
        yield f"{where}: {header} was found: it differs on every request and would scatter sessions; remove it"
    for header in dict.fromkeys(h for h in headers if headers.count(h) > 1):
        yield f"{where}: {header} was found {headers.count(header)} times: once is allowed; remove the repetition"


def _timeouts(settings: Settings) -> Iterator[str]:
    times, engines, router = settings.edge.timeouts, settings.engines, settings.router
    server, edge, waits = times.server_seconds, "stack_edge.timeouts", router.admission.queue_seconds
    table = [
        (f"{edge}.client_seconds", times.client_seconds, f"{edge}.server_seconds", server),
        (f"{edge}.server_seconds", server, f"{edge}.connect_seconds", times.connect_seconds),
        ("stack_engines.shutdown_timeout_seconds", engines.shutdown_timeout_seconds, f"{edge}.server_seconds", server),
        ("stack_router.drain_timeout_seconds", router.drain_timeout_seconds, f"{edge}.server_seconds", server),
        ("stack_router.lease_ttl_seconds", router.lease_ttl_seconds, f"{edge}.server_seconds", server),
    ]
    if waits > server:
        table.append(
            ("stack_router.lease_ttl_seconds", router.lease_ttl_seconds, "stack_router.admission.queue_seconds", waits)
        )
    for outer, high, inner, low in table:
        if (high or 0) < low:
            yield f"{outer}: {high} was found: at least {inner} ({low}) is needed; raise it or lower {inner}"
    if times.pool_idle_seconds >= engines.keep_alive_seconds:
        yield (
            f"{edge}.pool_idle_seconds: {times.pool_idle_seconds} was found: below stack_engines.keep_alive_seconds "
            f"({engines.keep_alive_seconds}) is needed, else a next turn meets a closed connection; lower it"
        )


def _sizes(settings: Settings) -> Iterator[str]:
    if settings.edge.max_body_bytes < settings.edge.buffer_bytes:
        yield (
            f"stack_edge.max_body_bytes: {settings.edge.max_body_bytes} was found: at least stack_edge.buffer_bytes "
            f"({settings.edge.buffer_bytes}) is needed; raise it"
        )


def _kv_events(settings: Settings) -> Iterator[str]:
    if settings.router.kv_events and not settings.router.prefix_index:
        yield (
            "stack_router.kv_events: true was found with stack_router.prefix_index false: allowed with the index, "
            "which answers until engines have told; switch it on"
        )


def _groups(hosts: Sequence[Host]) -> Iterator[str]:
    for group, what in (("edge", "take requests"), ("engines", "serve models")):
        if not any(group in host.groups for host in hosts):
            yield f"inventory: no host in group {group} was found: at least one is needed to {what}; add a host to it"


def _addresses(hosts: Sequence[Host]) -> Iterator[str]:
    members = [host for host in hosts if host.groups]
    seen: dict[str, str] = {}
    for host in members:
        where = f"host {host.name}: stack_address"
        if not host.address:
            yield f"{where}: nothing was found: with several hosts each needs its private IPv4 address; add it"
        elif not _is_ipv4(host.address):
            yield f"{where}: {host.address!r} was found: an IPv4 address of one interface is allowed; correct it"
        elif len(members) > 1 and ipaddress.IPv4Address(host.address).is_loopback:
            yield f"{where}: {host.address} was found: the other hosts cannot reach it; set the private address"
        elif (first := seen.setdefault(host.address, host.name)) != host.name:
            yield f"{where}: {host.address} was found, as on host {first}: each host has its own; correct one"


def _is_ipv4(text: str) -> bool:
    try:
        return not ipaddress.IPv4Address(text).is_unspecified
    except ValueError:
        return False
