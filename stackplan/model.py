"""The values a plan is made of. Frozen: a plan is computed once and read everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["engine", "router", "edge", "prometheus", "alertmanager", "node_exporter", "gpu_exporter", "grafana"]
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine of the inventory. `gpus` is how many it has; `address` where the others reach it."""

    name: str
    address: str
    groups: frozenset[str]
    gpus: int


@dataclass(frozen=True, slots=True)
class Listen:
    """One TCP port a service binds."""

    name: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Mount:
    """Something of the host (`bind`), a named volume (`volume`) or memory (`tmpfs`) inside the container.

    Memory with a name is a volume, too: containers share it, and it keeps its mode when a container starts again, which
    memory without a name does only over a folder that the image has.
    """

    target: str
    source: str = ""
    type: Literal["bind", "volume", "tmpfs"] = "bind"
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Health:
    """How a container is found to work: `command` inside it, `url` from the host."""

    command: Sequence[str]
    url: str
    interval_seconds: int
    timeout_seconds: int
    retries: int
    start_seconds: int


@dataclass(frozen=True, slots=True)
class Service:
    """One container on one host: complete, absolute, in starting order.

    `after`: services of the same host that start before it and stop after it.
    """

    name: str
    kind: Kind
    host: str
    address: str
    image: str
    command: Sequence[str]
    ports: Sequence[Listen]
    health: Health
    stop_grace_seconds: int
    build: Mapping[str, Any] | None = None
    entrypoint: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    env_file: str | None = None
    gpus: Sequence[int] = ()
    gpu_injection: str = "cdi"
    mounts: Sequence[Mount] = ()
    after: Sequence[str] = ()
    stop_signal: str | None = None
    user: str | None = None
    cap_drop: Sequence[str] = ()
    cap_add: Sequence[str] = ()
    read_only: bool = False
    ulimits: Mapping[str, int] = field(default_factory=dict)
    ipc: str | None = None
    pid: str | None = None
    shm_size: str | None = None
    init: bool = True
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """One engine's place: the nth replica of a model, on a host, on these GPUs."""

    model: int
    number: int
    host: str
    gpus: tuple[int, ...]
