"""The services of one host as a Compose project: a translation, nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROJECT = "ironrack"


def compose_project(plan: Mapping[str, Any], host: str) -> dict[str, Any]:
    """compose.yml of one host, to be written in the order of its keys."""
    services = [service for service in plan["services"] if service["host"] == host]
    logging = _logging(plan["settings"]["observe"])
    project: dict[str, Any] = {
        "name": PROJECT,
        "services": {s["name"]: _escaped(_service(s, logging)) for s in services},
    }
    volumes = {m["source"]: _kept(m) for s in services for m in s["mounts"] if m["source"] and m["type"] != "bind"}
    return {**project, "volumes": volumes} if volumes else project


def _service(service: Mapping[str, Any], logging: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "image": service["image"],
        "build": {k: v for k, v in (service["build"] or {}).items() if v},
        "container_name": service["name"],
        "network_mode": "host",
        "pid": service["pid"],
        "ipc": service["ipc"],
        "shm_size": service["shm_size"],
        "user": service["user"],
        "init": service["init"],
        "entrypoint": service["entrypoint"],
        "command": list(service["command"]),
        "environment": dict(service["env"]),
        "env_file": _env_file(service["env_file"]),
        "volumes": [_volume(mount) for mount in service["mounts"] if mount["source"]],
        "tmpfs": [mount["target"] for mount in service["mounts"] if not mount["source"]],
        "read_only": service["read_only"],
        "cap_drop": list(service["cap_drop"]),
        "cap_add": list(service["cap_add"]),
        "security_opt": ["no-new-privileges:true"],
        "ulimits": dict(service["ulimits"]),
        "deploy": _devices(service["gpus"], service["gpu_injection"]),
        "healthcheck": _healthcheck(service["health"]),
        "depends_on": list(service["after"]),
        "stop_signal": service["stop_signal"],
        "stop_grace_period": f"{service['stop_grace_seconds']}s",
        "restart": "unless-stopped",
        "logging": dict(logging),
    }
    return {key: value for key, value in found.items() if value not in (None, [], {}, False)}


def _logging(observe: Mapping[str, Any]) -> dict[str, Any]:
    """What containers write, kept by Docker in files that are replaced in turn; texts, as the driver wants them."""
    options = {"max-size": f"{observe['log_file_mib']}m", "max-file": str(observe["log_files"])}
    return {"driver": "json-file", "options": options}


def _env_file(path: str | None) -> list[dict[str, Any]]:
    # Not required: a project is validated before the host has its secrets.
    return [{"path": path, "required": False}] if path else []


def _volume(mount: Mapping[str, Any]) -> str:
    return f"{mount['source']}:{mount['target']}{':ro' if mount['read_only'] else ''}"


def _kept(mount: Mapping[str, Any]) -> dict[str, Any]:
    """A named volume: on disk, or in memory and writable for whoever mounts it."""
    if mount["type"] == "volume":
        return {}
    return {"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "mode=1777"}}


def _devices(gpus: list[int], injection: str) -> dict[str, Any]:
    """GPUs as devices of a CDI specification, or as numbers for NVIDIA's hook; Compose wants a capability for both."""
    if not gpus:
        return {}
    driver, prefix = ("cdi", "nvidia.com/gpu=") if injection == "cdi" else ("nvidia", "")
    device = {"driver": driver, "device_ids": [f"{prefix}{gpu}" for gpu in gpus], "capabilities": ["gpu"]}
    return {"resources": {"reservations": {"devices": [device]}}}


def _healthcheck(health: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "test": list(health["command"]),
        "interval": f"{health['interval_seconds']}s",
        "timeout": f"{health['timeout_seconds']}s",
        "retries": health["retries"],
        "start_period": f"{health['start_seconds']}s",
    }


def _escaped(value: Any) -> Any:
    """Compose replaces `$name`; a dollar of ours is a dollar."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return {key: _escaped(item) for key, item in value.items()} if isinstance(value, dict) else value
