"""Settings that follow from other settings, so that changing one keeps the rest consistent."""

from __future__ import annotations

from collections.abc import Sequence

from stackplan import images
from stackplan.model import Host
from stackplan.settings import Edge, Engines, Model, Router, Settings

GATE_SECONDS = 0.25  # how much longer a session may wait at home before it moves


def derive(settings: Settings, hosts: Sequence[Host]) -> Settings:
    """The same settings without a None that has a rule."""
    edge = _edge(settings.edge)
    return settings.model_copy(
        update={
            "models": [_model(model, settings.engines) for model in settings.models],
            "engines": _engines(settings.engines, edge),
            "router": _router(settings.router, edge, edges=sum("edge" in host.groups for host in hosts)),
            "edge": edge,
        }
    )


def slug(name: str) -> str:
    """A model's name as part of container, backend and server names."""
    return "".join(char if char.isalnum() or char in "_." else "-" for char in name.lower()).strip("-.")


def _model(model: Model, engines: Engines) -> Model:
    default = 0 if engines.device == "cpu" else 1
    gpus = default if model.gpus_per_replica is None else model.gpus_per_replica
    return model.model_copy(update={"gpus_per_replica": gpus, "image": model.image or _engine_image(engines)})


def _engine_image(engines: Engines) -> str:
    return engines.image or (images.ENGINE_CPU if engines.device == "cpu" else images.ENGINE_GPU)


def _engines(engines: Engines, edge: Edge) -> Engines:
    shutdown = engines.shutdown_timeout_seconds or edge.timeouts.server_seconds
    return engines.model_copy(update={"image": _engine_image(engines), "shutdown_timeout_seconds": shutdown})


def _edge(edge: Edge) -> Edge:
    times = edge.timeouts
    client = times.client_seconds or times.queue_seconds + times.server_seconds
    return edge.model_copy(update={"timeouts": times.model_copy(update={"client_seconds": client})})


def _router(router: Router, edge: Edge, edges: int) -> Router:
    """Edge hosts that do not hear of each other's load must not hold on to engines that others fill: no gate.

    The routers of one host share their load. KV events are for routers that know the same of caches: they are to know
    the same of load, too.
    """
    longest = router.admission.queue_seconds + edge.timeouts.queue_seconds + edge.timeouts.server_seconds
    gossip = router.gossip or router.kv_events
    gate = GATE_SECONDS if edges <= 1 or gossip else 0.0
    return router.model_copy(
        update={
            "gossip": gossip,
            "gate_seconds": gate if router.gate_seconds is None else router.gate_seconds,
            "lease_ttl_seconds": router.lease_ttl_seconds or longest + 60,
            "drain_timeout_seconds": router.drain_timeout_seconds or edge.timeouts.server_seconds + 30,
        }
    )
