"""Which engine runs where, and on which GPUs. Deterministic: the same inventory gives the same places.

Large replicas are placed before small ones (pinned before free), each on the allowed host with the fewest replicas of
the same model, then the most free GPUs, then the inventory's order; on it, the first free run of neighbouring GPUs.
A replica never spans hosts: tensor parallelism stays inside one machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from stackplan.model import Host, Replica
from stackplan.settings import Model


class Placement(NamedTuple):
    """Where replicas went (in the order of the models), and what did not fit."""

    replicas: list[Replica]
    problems: list[str]


def place(models: Sequence[Model], hosts: Sequence[Host]) -> Placement:
    """Give every replica a host and its GPUs, each GPU to one replica only."""
    room = _Room(hosts)
    placed: list[Replica] = []
    problems: list[str] = []
    for index in sorted(range(len(models)), key=lambda i: (-_need(models[i]), not models[i].hosts, i)):
        for number in range(models[index].replicas):
            replica = room.take(index, number, models[index])
            if replica is None:
                problems += room.refusal(index, number, models[index])
                break
            placed.append(replica)
    return Placement(sorted(placed, key=lambda r: (r.model, r.number)), problems)


def candidates(model: Model, hosts: Sequence[Host]) -> list[Host]:
    """The engine hosts a model may use: those it is pinned to, else all."""
    return [host for host in hosts if not model.hosts or host.name in model.hosts]


def run_of(free: Sequence[int], count: int) -> tuple[int, ...] | None:
    """The first `count` neighbouring indices in a sorted list, or None; GPUs that talk to each other sit together."""
    if count == 0:
        return ()
    for start in range(len(free) - count + 1):
        if free[start + count - 1] - free[start] == count - 1:
            return tuple(free[start : start + count])
    return None


def _need(model: Model) -> int:
    return model.gpus_per_replica or 0


class _Room:
    """What is still free while replicas are being placed."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self.free = {host.name: list(range(host.gpus)) for host in hosts}
        self.replicas: Counter[tuple[int, str]] = Counter()
        self.engines: Counter[str] = Counter()

    def take(self, index: int, number: int, model: Model) -> Replica | None:
        """The best place for one more replica, taken; None when no allowed host has room."""
        fits = [
            (self.replicas[index, host.name], -len(self.free[host.name]), self.engines[host.name], order, gpus)
            for order, host in enumerate(self.hosts)
            if host in candidates(model, self.hosts)
            and (gpus := run_of(self.free[host.name], _need(model))) is not None
        ]
        if not fits:
            return None
        *_, order, gpus = min(fits)
        return self._taken(Replica(index, number, self.hosts[order].name, gpus))

    def refusal(self, index: int, number: int, model: Model) -> list[str]:
        """Why there is no place, in numbers; nothing for a model pinned to no engine host, which is said elsewhere."""
        allowed = candidates(model, self.hosts)
        left = ", ".join(f"{host.name} {len(self.free[host.name])} of {host.gpus}" for host in allowed)
        text = (
            f"stack_models[{index}] ({model.name}): replica {number + 1} of {model.replicas} needs {_need(model)} "
            f"neighbouring GPUs of one host, free are: {left}: a host cannot give more than its stack_gpus; "
            "lower replicas or gpus_per_replica, or add a host"
        )
        return [text] if allowed else []

    def _taken(self, replica: Replica) -> Replica:
        self.free[replica.host] = [gpu for gpu in self.free[replica.host] if gpu not in replica.gpus]
        self.replicas[replica.model, replica.host] += 1
        self.engines[replica.host] += 1
        return replica
