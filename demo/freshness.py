"""Whether a deployment can be left alone: same sources, same deployed files, every service healthy on its image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import yaml

from demo import docker
from demo.paths import ROOT, STACK_ROOT

SOURCES = [
    "ansible.cfg",
    "inventories/common",
    "inventories/demo",
    "observe",
    "playbooks",
    "pyproject.toml",
    "roles",
    "router",
    "stackplan",
    "uv.lock",
]
STAMP = STACK_ROOT / ".deployed-from"


def is_current() -> bool:
    """True when nothing was edited since the last deployment that scripts/up finished, and all of it is healthy."""
    if not STAMP.is_file() or STAMP.read_text(encoding="utf-8") != _fingerprint():
        return False
    compose = STACK_ROOT / "current" / "compose.yml"
    services = yaml.safe_load(compose.read_text(encoding="utf-8"))["services"]
    return all(docker.healthy(name, service["image"]) for name, service in services.items())


def remember() -> None:
    """Note that what is deployed comes from what is here now."""
    STAMP.write_text(_fingerprint(), encoding="utf-8")


def _fingerprint() -> str:
    digest = hashlib.sha256()
    roots = [ROOT / name for name in SOURCES] + [STACK_ROOT / "current" / "compose.yml", STACK_ROOT / "config"]
    for path in _files(roots):
        digest.update(str(path).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(roots: Iterable[Path]) -> Iterable[Path]:
    for root in roots:
        found = sorted(root.rglob("*")) if root.is_dir() else [root]
        yield from (path for path in found if path.is_file() and "__pycache__" not in path.parts)
