"""What would stop scripts/up halfway, found before it changes anything."""

from __future__ import annotations

import errno
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from demo import bases, docker, images
from demo.catalogue import ENGINE
from demo.console import StepError
from demo.images import REGISTRY

GIB = 1024**3
MEMORY_GIB = 7  # two engines of 3 GiB, and what they stand on
DISK_GIB = 15  # images while they are built
DOCKER_ROOT = Path("/var/lib")


@dataclass(frozen=True)
class Machine:
    """What counts: memory and free disk in bytes, package manager, a port somebody else has, a place to get images."""

    memory_bytes: int
    disk_bytes: int
    has_apt: bool
    port_taken: bool
    images_missing: bool
    reaches_sources: bool = True


def problems(machine: Machine, port: int) -> list[str]:
    """Every reason not to begin, each with what to do."""
    found = []
    if not machine.has_apt:
        found.append("packages: no apt-get here: Debian 12/13 or Ubuntu 22.04/24.04 is needed; use such a machine")
    if machine.memory_bytes < MEMORY_GIB * GIB:
        found.append(
            f"memory: {machine.memory_bytes / GIB:.1f} GiB: two engines need {MEMORY_GIB} GiB; use a larger machine"
        )
    if machine.images_missing and machine.disk_bytes < DISK_GIB * GIB:
        found.append(
            f"{DOCKER_ROOT}: {machine.disk_bytes / GIB:.1f} GiB free: the images need {DISK_GIB} GiB; free some space"
        )
    if machine.images_missing and not machine.reaches_sources:
        found.append(
            f"network: neither {REGISTRY} nor {bases.MIRROR} answers: images come from one of them; "
            "connect this machine, or install from a bundle: docs/operations/air-gap.md"
        )
    if machine.port_taken:
        found.append(f"port {port}: something else listens there: the endpoint needs it; stop that, or choose --port")
    return found


def check(port: int) -> None:
    """Raise StepError with every problem of this machine."""
    found = problems(_machine(port), port)
    if found:
        raise StepError("\n  ".join(["this machine is not ready; nothing was changed:", *found]))


def _machine(port: int) -> Machine:
    missing = not (docker.has(ENGINE.production) or docker.has(ENGINE.local))
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return Machine(
        memory_bytes=int(meminfo["MemTotal"].split()[0]) * 1024,
        disk_bytes=shutil.disk_usage(DOCKER_ROOT).free,
        has_apt=shutil.which("apt-get") is not None,
        port_taken=not docker.running("edge") and _taken(port),
        images_missing=missing,
        reaches_sources=not missing or images.registry_answers() or bases.mirror_answers(),
    )


def _taken(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("0.0.0.0", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
