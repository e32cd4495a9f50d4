"""Intent and inventory in; every mistake, or the whole plan, out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stackplan.checks import cross_checks
from stackplan.derive import derive
from stackplan.firewall import firewall
from stackplan.gpu_hosts import gpu_watch, gpu_watch_rules
from stackplan.ground import Ground
from stackplan.model import LOOPBACK, Host, Service
from stackplan.names import unknown_names
from stackplan.place import place
from stackplan.ports import port_problems
from stackplan.services import services
from stackplan.settings import Model, Settings
from stackplan.shape import read

GROUPS = ("edge", "engines", "observe")
ROOT = "/opt/ironrack"


class PlanError(ValueError):
    """An intent that cannot be planned. `problems` holds every mistake, one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def problems(
    intent: Mapping[str, Any], hosts: Sequence[Mapping[str, Any]], variable_names: Iterable[str] = ()
) -> list[str]:
    """Every mistake at once: unknown names, wrong shapes, contradictions, too few GPUs, ports taken twice."""
    settings, machines, found = _understood(intent, hosts)
    return [*unknown_names(variable_names), *found, *_built(settings, machines, ROOT)[1]]


def plan(intent: Mapping[str, Any], hosts: Sequence[Mapping[str, Any]], root: str = ROOT) -> dict[str, Any]:
    """The plan as plain data: `settings`, `hosts`, `services` in starting order, `firewall` and `gpu_watch` by host.

    Raises PlanError with every mistake of `intent` and `hosts`.
    """
    settings, machines, found = _understood(intent, hosts)
    built, clashes = _built(settings, machines, root)
    if found or clashes:
        raise PlanError([*found, *clashes])
    watched = gpu_watch(settings, machines)
    rules = firewall(machines, built)
    return {
        "root": root,
        "settings": settings.model_dump(mode="json"),
        "hosts": [{**asdict(host), "groups": [g for g in GROUPS if g in host.groups]} for host in machines],
        "services": [_plain(service) for service in built],
        "firewall": {host: [*mine, *gpu_watch_rules(watched, host)] for host, mine in rules.items()},
        "gpu_watch": watched,
    }


def _understood(
    intent: Mapping[str, Any], hosts: Sequence[Mapping[str, Any]]
) -> tuple[Settings, list[Host], list[str]]:
    settings, found = read(intent)
    machines, host_problems = _hosts(hosts)
    settings = derive(settings, machines)
    return settings, machines, [*found, *host_problems, *cross_checks(settings, machines)]


def _built(settings: Settings, machines: Sequence[Host], root: str) -> tuple[list[Service], list[str]]:
    """Services with what is wrong with their places and ports; GPU counts that can never fit are said elsewhere."""
    engine_hosts = [host for host in machines if "engines" in host.groups]
    if not engine_hosts:
        return [], []
    placement = place(_asking(settings), engine_hosts)
    built = services(Ground(settings, machines, root), placement.replicas)
    return built, [*placement.problems, *port_problems(built)]


def _asking(settings: Settings) -> list[Model]:
    """The models with the GPUs they may claim: none without GPUs, whatever they say."""
    if settings.engines.device == "gpu":
        return settings.models
    return [model.model_copy(update={"gpus_per_replica": 0}) for model in settings.models]


def _hosts(hosts: Sequence[Mapping[str, Any]]) -> tuple[list[Host], list[str]]:
    members = [host for host in hosts if set(host.get("groups", [])) & set(GROUPS)]
    alone = LOOPBACK if len(members) == 1 else ""
    found: list[Host] = []
    wrong: list[str] = []
    for host in members:
        gpus = host.get("gpus") or 0
        if not str(gpus).isdigit():
            wrong.append(f"host {host['name']}: stack_gpus: {gpus!r} was found: a number from 0 is allowed; correct it")
            gpus = 0
        groups = frozenset(host["groups"]) & frozenset(GROUPS)
        found.append(Host(str(host["name"]), str(host.get("address") or alone), groups, int(gpus)))
    return found, wrong


def _plain(service: Service) -> dict[str, Any]:
    """Lists and dicts only, as JSON or YAML would carry them."""
    data = asdict(service)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}
