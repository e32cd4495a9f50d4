"""Where Prometheus and the routers answer, as the release in use on this host says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from status.errors import StatusError

ROOT = Path("/opt/ironrack")
_LISTEN = "--web.listen-address="


@dataclass(frozen=True, slots=True)
class Places:
    """Base URLs; `prometheus` is empty and `routers` are none where this host has none of it.

    `login`: `name:password` where Prometheus asks for one.
    """

    prometheus: str = ""
    routers: Mapping[str, str] = field(default_factory=dict)
    login: str = field(default="", repr=False)


def deployed(root: Path = ROOT) -> Places:
    """The places of the release in use. StatusError: there is none, or nothing in it can be asked."""
    path = root / "current" / "compose.yml"
    try:
        services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    except FileNotFoundError:
        raise StatusError(
            f"{path}: not found: nothing is deployed on this host: a host of the groups edge or observe has it; "
            "run scripts/up or playbooks/site.yml first, or give --prometheus http://HOST:9090"
        ) from None
    except (OSError, yaml.YAMLError, KeyError, TypeError) as problem:
        raise StatusError(f"{path}: found {problem!r}: a Compose file is needed; deploy again") from problem
    found = Places(_prometheus(services), dict(_routers(services)), _login(root, services))
    if not found.prometheus and not found.routers:
        raise StatusError(
            f"{path}: found neither Prometheus nor a router: this host only has {', '.join(sorted(services))}; "
            "run it on a host of the groups edge or observe, or give --prometheus http://HOST:9090"
        )
    return found


def _prometheus(services: Mapping[str, Any]) -> str:
    words = services.get("prometheus", {}).get("command", [])
    at = next((word.removeprefix(_LISTEN) for word in words if word.startswith(_LISTEN)), "")
    return f"http://{_dialable(at)}" if at else ""


def _login(root: Path, services: Mapping[str, Any]) -> str:
    """What Prometheus itself uses to read its own numbers; empty where it asks nobody, or we may not read it."""
    try:
        config = yaml.safe_load((root / "config" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
        jobs = (job for job in config["scrape_configs"] if job["job_name"] == "prometheus")
        mine = next((job["basic_auth"] for job in jobs if "basic_auth" in job), None)
        if mine is None:
            return ""
        file = _on_host(mine["password_file"], services["prometheus"]["volumes"])
        return f"{mine['username']}:{file.read_text(encoding='utf-8').strip()}"
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return ""


def _on_host(path: str, volumes: list[str]) -> Path:
    """Where a file of a container lies on the host."""
    for volume in volumes:
        source, target = volume.split(":")[:2]
        if path.startswith(f"{target}/"):
            return Path(source) / path.removeprefix(f"{target}/")
    raise KeyError(path)


def _routers(services: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, service in services.items():
        listens = service.get("environment", {}).get("IRONRACK_LISTEN", "")
        named = dict(word.split("=", 1) for word in listens.split())
        if "http" in named:
            yield name, f"http://{named['http']}"


def _dialable(address: str) -> str:
    return address.replace("0.0.0.0:", "127.0.0.1:")
