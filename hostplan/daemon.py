"""What Docker's daemon.json becomes: merged key by key, with what a change costs and what forbids it.

Three layers over what is there: what is filled in where the file is silent, what is asked for, what other roles need.
A value that is only filled in never costs a restart: it waits for one that happens anyway.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# What a running daemon takes over on SIGHUP; every other key needs a restart.
RELOADABLE = {
    "allow-nondistributable-artifacts",
    "authorization-plugins",
    "debug",
    "default-runtime",
    "features",
    "insecure-registries",
    "labels",
    "live-restore",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "registry-mirrors",
    "runtimes",
    "shutdown-timeout",
}
# Features that are only read at the start, whatever a reload says.
AT_START = {"cdi", "containerd-snapshotter"}
# Long and short options of dockerd that say what a key of the file would say: given twice, the daemon does not start.
OPTIONS = {
    "--data-root": "data-root",
    "--default-address-pool": "default-address-pools",
    "--default-shm-size": "default-shm-size",
    "--default-ulimit": "default-ulimits",
    "--exec-opt": "exec-opts",
    "--host": "hosts",
    "-H": "hosts",
    "--live-restore": "live-restore",
    "--log-driver": "log-driver",
    "--log-opt": "log-opts",
    "--registry-mirror": "registry-mirrors",
    "--storage-driver": "storage-driver",
    "-s": "storage-driver",
}
ROTATING = ("json-file", "local")
ROTATION = {"max-size": "50m", "max-file": "5"}


@dataclass(frozen=True, slots=True)
class Intent:
    """What the inventory asks for; an empty value is not asked for."""

    log_max_size: str = ""
    log_max_files: int = 0
    data_root: str = ""
    storage_driver: str = ""
    registry_mirrors: list[str] = field(default_factory=list)
    address_pools: list[dict[str, Any]] = field(default_factory=list)
    ulimits: dict[str, Any] = field(default_factory=dict)
    shm_size: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    leave_data: bool = False
    restart_with_engines: bool = False
    drains: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What the host answered."""

    now: dict[str, Any]
    server: str = ""
    engines: list[str] = field(default_factory=list)
    command: str = ""  # dockerd's command line in its unit
    root: str = ""
    driver: str = ""
    kept: int = 0  # images and containers under the root
    path: str = "/etc/docker/daemon.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """The file as it should be, what differs, what of it needs a restart, what waits for one, what forbids it."""

    wanted: dict[str, Any]
    changed: list[str]
    restart: list[str]
    waiting: list[str]
    problems: list[str]


def plan(intent: Mapping[str, Any], found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The decisions as plain data; `where` names the host in problems."""
    return asdict(_plan(Intent(**intent), Found(**found), where))


def _plan(intent: Intent, found: Found, where: str) -> Plan:
    asked = merged(merged(asked_for(intent), intent.settings), intent.extra)
    firm = merged(found.now, asked)
    full = merged(fill(found.now, asked), firm)
    # A daemon that runs on is not restarted for what was only filled in.
    idle = not found.server or bool(restarts(found.now, firm))
    wanted = full if idle else firm
    waiting = [] if idle else changes(firm, full)
    restart = restarts(found.now, wanted) if found.server else []
    problems = [*_problems(intent, found, asked, restart)]
    return Plan(wanted, changes(found.now, wanted), restart, waiting, [f"{where}: docker: {text}" for text in problems])


def merged(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """`now` with the keys of `wanted` set, objects key by key, lists as a whole."""
    found = dict(now)
    for key, value in wanted.items():
        old = found.get(key)
        found[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return found


def changes(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Keys whose values differ, in the wanted order."""
    return [key for key, value in wanted.items() if key not in now or now[key] != value]


def restarts(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Changed keys that the daemon reads only when it starts."""
    found = [key for key in changes(now, wanted) if key not in RELOADABLE]
    features = changes(now.get("features", {}), wanted.get("features", {}))
    return [*found, *(f"features.{name}" for name in features if name in AT_START)]


def asked_for(intent: Intent) -> dict[str, Any]:
    """The settings that have variables of their own, in the daemon's words."""
    options = {
        "max-size": intent.log_max_size,
        "max-file": str(intent.log_max_files) if intent.log_max_files else "",
    }
    said = {
        "log-opts": {key: value for key, value in options.items() if value},
        "data-root": intent.data_root,
        "storage-driver": intent.storage_driver,
        "registry-mirrors": intent.registry_mirrors,
        "default-address-pools": intent.address_pools,
        "default-ulimits": {name: ulimit(name, value) for name, value in intent.ulimits.items()},
        "default-shm-size": intent.shm_size,
    }
    return {key: value for key, value in said.items() if value}


def ulimit(name: str, value: Any) -> dict[str, Any]:
    """One limit in the daemon's form: a number is both soft and hard; -1 is no limit."""
    both = value if isinstance(value, Mapping) else {"soft": value, "hard": value}
    return {"Name": name, "Soft": int(both["soft"]), "Hard": int(both["hard"])}


def fill(now: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Log rotation, where neither the file nor the inventory chose another driver or said how to rotate."""
    driver = asked.get("log-driver", now.get("log-driver", "json-file"))
    if driver not in ROTATING:
        return {}
    return {"log-opts": ROTATION}


def _major(version: str) -> int:
    """The number that a version begins with; 0 where it begins with none."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def _problems(intent: Intent, found: Found, asked: Mapping[str, Any], restart: list[str]) -> Iterator[str]:
    yield from _command_line(found, asked)
    yield from _logs(intent, found, asked)
    yield from _pools(intent)
    yield from _moves(intent, found, asked)
    cdi = asked.get("features", {}).get("cdi")
    if cdi and found.server and _major(found.server) < 25:
        yield (
            f"Docker {found.server} was found: CDI needs Docker 25 or later; upgrade Docker, or set "
            "stack_engines.gpu_injection: runtime"
        )
    if restart and found.engines and not (intent.restart_with_engines or intent.drains):
        yield (
            f"{', '.join(restart)} in {found.path} needs a restart while {', '.join(found.engines)} run: "
            "drain and stop them, or set docker_restart_with_engines: true"
        )


def _command_line(found: Found, asked: Mapping[str, Any]) -> Iterator[str]:
    given = {OPTIONS[name] for word in found.command.split() if (name := word.split("=")[0]) in OPTIONS}
    for key in sorted(given & set(asked)):
        yield (
            f"{key} is wanted in {found.path} and given on the command line of docker.service: Docker "
            "starts with one of the two; take it out of the unit's options, or out of the docker_ settings"
        )


def _logs(intent: Intent, found: Found, asked: Mapping[str, Any]) -> Iterator[str]:
    driver = asked.get("log-driver", found.now.get("log-driver", "json-file"))
    if (intent.log_max_size or intent.log_max_files) and driver not in ROTATING:
        yield (
            f"docker_log_max_size with the log driver {driver} was found: {' and '.join(ROTATING)} rotate files; "
            "leave docker_log_max_size and docker_log_max_files unset, or change the driver"
        )


def _pools(intent: Intent) -> Iterator[str]:
    for index, pool in enumerate(intent.address_pools):
        where = f"docker_address_pools[{index}]"
        try:
            base = ipaddress.ip_network(str(pool.get("base")))
        except ValueError:
            yield f"{where}.base: {pool.get('base')!r} was found: a network such as 10.200.0.0/16 is allowed; give one"
            continue
        size = pool.get("size")
        if not isinstance(size, int) or not base.prefixlen <= size <= base.max_prefixlen:
            yield f"{where}.size: {size!r} was found: {base.prefixlen} to {base.max_prefixlen} fits {base}; correct it"


def _moves(intent: Intent, found: Found, asked: Mapping[str, Any]) -> Iterator[str]:
    """Another root or storage driver does not take images and containers along: they seem to be gone."""
    said = {"data-root": found.root, "storage-driver": found.driver}
    moved = [key for key, now in said.items() if now and asked.get(key, now) != now]
    if moved and found.kept and not intent.leave_data:
        yield (
            f"{' and '.join(moved)} would change with {found.kept} images and containers under {found.root}: "
            "they would not be seen any more; move or remove them first, or set docker_leave_data: true"
        )
