"""What the plan expects of one host, and what must be asked there to find out whether it has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Plan = Mapping[str, Any]
Service = Mapping[str, Any]

_HUB = "https://huggingface.co"
_DOCKER_HUB = "registry-1.docker.io"


def questions(plan: Plan, host: str) -> dict[str, Any]:
    """Arguments of the module that gathers a host's facts, apart from the time."""
    mine = services(plan, host)
    cache = plan["settings"]["engines"]["cache_directory"]
    images = list(dict.fromkeys(service["image"] for service in mine))
    return {
        "folders": {"weights": cache} if engines(plan, host) else {},
        "images": images,
        "models": list(dict.fromkeys(model_of(plan, service)["source"] for service in engines(plan, host))),
        "cache_directory": cache,
        "peers": peers(plan, host),
        "urls": [] if from_bundle(plan) else [*(f"https://{name}/v2/" for name in registries(mine)), *hubs(plan, host)],
    }


def groups(plan: Plan, host: str) -> list[dict[str, Any]]:
    """Arguments of the module that lets GPUs compute: each engine of a host, as its container will be started."""
    copied = ("image", "gpus", "ipc", "shm_size", "ulimits")
    return [
        {"engine": service["name"], **{name: service.get(name) for name in copied}}
        for service in engines(plan, host)
        if service["gpus"]
    ]


def from_bundle(plan: Plan) -> bool:
    """Whether nothing is fetched: the role bundle says what its folder lacks."""
    return "origins" in plan


def services(plan: Plan, host: str) -> list[Service]:
    """Every container of a host."""
    return [service for service in plan["services"] if service["host"] == host]


def engines(plan: Plan, host: str) -> list[Service]:
    """The engines of a host."""
    return [service for service in services(plan, host) if service["kind"] == "engine"]


def gpus(plan: Plan, host: str) -> int:
    """How many GPUs the inventory says a host has, as far as the plan may use them."""
    if plan["settings"]["engines"]["device"] != "gpu":
        return 0
    return next(
        (int(each["gpus"]) for each in plan["hosts"] if each["name"] == host and "engines" in each["groups"]), 0
    )


def model_of(plan: Plan, service: Service) -> Mapping[str, Any]:
    """The model an engine serves."""
    found: Mapping[str, Any] = next(each for each in plan["settings"]["models"] if each["name"] == service["model"])
    return found


def peers(plan: Plan, host: str) -> list[dict[str, Any]]:
    """One address and port of every other host that this one talks to: routers to engines, Prometheus to all."""
    kinds = {service["kind"] for service in services(plan, host)}
    talks = [
        service
        for service in plan["services"]
        if service["host"] != host
        and service["ports"]
        and ("prometheus" in kinds or ("router" in kinds and service["kind"] in ("engine", "router")))
    ]
    addresses = {each["name"]: each["address"] for each in plan["hosts"]}
    first = {service["host"]: service["ports"][0]["port"] for service in reversed(talks)}
    return [{"host": name, "address": addresses[name], "port": port} for name, port in sorted(first.items())]


def registries(mine: Iterable[Service]) -> list[str]:
    """Registries that images of these services come from; what is built here comes from none."""
    names = [registry(service["image"]) for service in mine if not service.get("build")]
    return list(dict.fromkeys(names))


def registry(image: str) -> str:
    """The registry's host: what stands before the first slash when it looks like a host, else Docker's own."""
    first, slash, _ = image.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_host else _DOCKER_HUB


def hubs(plan: Plan, host: str) -> list[str]:
    """The hub, where an engine of this host would fetch its weights."""
    env = plan["settings"]["engines"]["env"]
    fetched: Sequence[Service] = [each for each in engines(plan, host) if fetches(plan, each)]
    return [env.get("HF_ENDPOINT", _HUB)] if fetched else []


def fetches(plan: Plan, service: Service) -> bool:
    """Whether an engine takes its weights from the hub when they are not on the host."""
    model = model_of(plan, service)
    return not model["source"].startswith("/") and not model["weights_staged"]
