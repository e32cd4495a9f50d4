"""Kernel settings of a host that serves models: each value with its reason, and what of it this host can take.

The one table: docs, the role's README and the files on a host come from it. A value is set exactly, or is a floor that
somebody's higher value passes. What a container or a virtual machine cannot change is skipped and said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Value:
    """One kernel setting: its name for sysctl, its value, whether more is as good, and why."""

    key: str
    value: str
    why: str
    floor: bool = False


TABLE = (
    Value(
        "vm.swappiness",
        "1",
        "A tokenizer or a KV block on swap is a first byte that takes seconds; swap stays for emergencies.",
    ),
    Value(
        "vm.max_map_count",
        "1048576",
        "Shards of weights, CUDA and JIT libraries are mapped by the thousand; 65530 maps end an engine.",
        True,
    ),
    Value(
        "vm.overcommit_memory",
        "0",
        "CUDA reserves several times the memory it uses; strict accounting (2) refuses that to an engine.",
    ),
    Value(
        "vm.zone_reclaim_mode",
        "0",
        "Page cache of weights may lie on the other NUMA node; reclaiming near memory first stalls loading.",
    ),
    Value(
        "kernel.numa_balancing",
        "0",
        "Moving pages between nodes faults threads that feed GPUs; engines keep their memory where it is.",
    ),
    Value(
        "net.core.somaxconn",
        "16384",
        "A burst of new clients waits in the edge's backlog instead of being dropped.",
        True,
    ),
    Value(
        "net.core.netdev_max_backlog",
        "16384",
        "Packets of thousands of streams arrive in bursts; a short queue drops them.",
        True,
    ),
    Value(
        "net.core.rmem_max",
        "16777216",
        "Long prompts and weights cross fast links with room for their round trip.",
        True,
    ),
    Value("net.core.wmem_max", "16777216", "The same on the sending side.", True),
    Value(
        "net.ipv4.tcp_rmem",
        "4096 131072 16777216",
        "Small at first, so that thousands of idle streams cost little, and large when one is fast.",
    ),
    Value("net.ipv4.tcp_wmem", "4096 65536 16777216", "The same on the sending side."),
    Value("net.ipv4.tcp_max_syn_backlog", "16384", "Handshakes of a burst that have not finished are kept.", True),
    Value(
        "net.ipv4.tcp_slow_start_after_idle",
        "0",
        "A stream pauses between turns; it need not begin slowly after each pause.",
    ),
    Value(
        "net.ipv4.ip_local_port_range",
        "15000 65000",
        "The edge opens one connection per request to its engines; the default leaves 28,000 ports.",
    ),
)
LIMITS = (
    ("memlock", "unlimited", "Pinned host memory and RDMA buffers are locked memory; the default is 8 MiB."),
    ("nofile", "1048576", "Each stream is a file at the edge, at the router and at the engine."),
)
OTHERS = (
    (
        "transparent hugepages",
        "madvise",
        "`always` lets the kernel compact memory under a running engine; PyTorch asks where it gains.",
    ),
    (
        "2 MiB hugepages",
        "kept",
        "Reserved pages are taken from everything else; only for software that asks for them by name.",
    ),
    (
        "CPU governor",
        "performance",
        "Kernel launches are short bursts of one core; a clock that must rise first adds to each token.",
    ),
    (
        "time synchronisation",
        "on",
        "Leases, certificates and log lines of several hosts agree only when their clocks do.",
    ),
)
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
GOVERNOR = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


@dataclass(frozen=True, slots=True)
class Intent:
    """What the inventory asks for: the table's values with changes, and the settings beside sysctl."""

    sysctl: dict[str, Any] = field(default_factory=dict)  # overrides; an empty value leaves that key alone
    transparent_hugepages: str = "madvise"  # or keep
    hugepages: int = -1  # 2 MiB pages to reserve, -1 to keep
    governor: str = "performance"  # or keep
    time_sync: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """What the host answered. Texts are empty where the kernel has no such thing."""

    sysctl: dict[str, str] = field(default_factory=dict)
    writable: list[str] = field(default_factory=list)  # keys of sysctl, and the two files above
    container: str = ""
    virtual: str = ""
    thp: str = ""  # the chosen word
    governors: list[str] = field(default_factory=list)  # chosen ones, each once
    governors_known: list[str] = field(default_factory=list)
    time_units: list[str] = field(default_factory=list)  # active ones
    synchronized: bool = False
    iommu: str = ""  # translating or passthrough
    acs: list[str] = field(default_factory=list)  # bridges that redirect traffic between devices
    gpus: list[dict[str, Any]] = field(default_factory=list)  # address and NUMA node
    nvswitch: bool = False
    nodes: dict[str, str] = field(default_factory=dict)  # CPUs of each NUMA node


@dataclass(frozen=True, slots=True)
class Plan:
    """What is set, what is skipped and why, what the person on call should know."""

    sysctl: dict[str, str]
    changed: dict[str, str]  # of sysctl: what differs now
    tmpfiles: list[str]
    thp: bool  # whether it must be set now
    governor: bool
    skipped: list[str]
    warnings: list[str]
    time_sync: bool  # whether a service must be installed


def plan(intent: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The decisions as plain data."""
    return asdict(_plan(Intent(**intent), Found(**found)))


def _plan(intent: Intent, found: Found) -> Plan:
    wanted = {key: value for key, value in _wanted(intent).items() if _possible(key, found)}
    chosen = {key: _floor(key, value, found.sysctl[key], intent) for key, value in wanted.items()}
    thp = intent.transparent_hugepages != "keep" and THP in found.writable
    governor = intent.governor in found.governors_known and GOVERNOR in found.writable
    lines = [
        *([f"w {THP} - - - - {intent.transparent_hugepages}"] if thp else []),
        *([f"w {GOVERNOR} - - - - {intent.governor}"] if governor else []),
    ]
    return Plan(
        sysctl=chosen,
        changed={key: value for key, value in chosen.items() if found.sysctl[key].split() != value.split()},
        tmpfiles=lines,
        thp=thp and found.thp != intent.transparent_hugepages,
        governor=governor and found.governors != [intent.governor],
        skipped=list(_skipped(intent, found)),
        warnings=list(_warnings(found)),
        time_sync=intent.time_sync and not found.time_units and not found.container,
    )


def undo(before: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be set back: of what was remembered before the first change, what differs now.

    `sysctl` maps keys to values; `files` maps paths (with a star for every CPU) to the word to be written there.
    """
    host = Found(**found)
    sysctl = before.get("sysctl", {})
    words = {
        THP: (before.get("thp", ""), host.thp),
        GOVERNOR: (next(iter(before.get("governors", [])), ""), next(iter(host.governors), "")),
    }
    return {
        "sysctl": {key: value for key, value in sysctl.items() if host.sysctl.get(key, "").split() != value.split()},
        "files": {path: old for path, (old, now) in words.items() if old not in {"", now}},
    }


def _wanted(intent: Intent) -> dict[str, str]:
    values = {value.key: value.value for value in TABLE}
    if intent.hugepages >= 0:
        values["vm.nr_hugepages"] = str(intent.hugepages)
    values |= {key: str(value) for key, value in intent.sysctl.items()}
    return {key: value for key, value in values.items() if value != ""}


def _floor(key: str, value: str, now: str, intent: Intent) -> str:
    """A floor of the table leaves a higher value as it is; a value of the inventory is that value."""
    floors = {each.key for each in TABLE if each.floor} - set(intent.sysctl)
    return now if key in floors and now.isdigit() and int(now) > int(value) else value


def _possible(key: str, found: Found) -> bool:
    return key in found.sysctl and key in found.writable


def _skipped(intent: Intent, found: Found) -> Iterator[str]:
    for key in _wanted(intent):
        if key not in found.sysctl:
            yield f"{key}: this kernel does not show it here{_whose(found)}"
        elif key not in found.writable:
            yield f"{key}: read-only here{_whose(found)}"
    if intent.transparent_hugepages != "keep" and THP not in found.writable:
        yield f"transparent hugepages: {'read-only here' if found.thp else 'not in this kernel'}{_whose(found)}"
    if intent.governor != "keep" and not (intent.governor in found.governors_known and GOVERNOR in found.writable):
        yield f"CPU governor {intent.governor}: not offered here{_whose(found)}"
    if intent.time_sync and found.container:
        yield f"time synchronisation: a container has its host's clock{_whose(found)}"


def _whose(found: Found) -> str:
    if found.container:
        return "; the host of this container decides"
    return f"; the hypervisor ({found.virtual}) decides" if found.virtual else ""


def _warnings(found: Found) -> Iterator[str]:
    several = len(found.gpus) > 1 and not found.nvswitch
    if several and found.acs:
        yield (
            f"PCIe ACS redirects traffic between devices at {', '.join(found.acs)}: GPUs without NVSwitch reach "
            "each other through the CPU, and NCCL may hang; turn ACS off in the firmware, or set NCCL_P2P_DISABLE=1 "
            "and accept the loss"
        )
    if several and found.iommu == "translating" and not found.virtual:
        yield (
            "the IOMMU translates addresses of GPUs that reach each other over PCIe: NCCL may hang; boot with "
            "iommu=pt, or turn it off in the firmware"
        )
    if not found.container and found.time_units and not found.synchronized:
        yield f"{', '.join(found.time_units)} is active and the clock is not in sync yet: look at timedatectl"
    nodes = {gpu.get("node", -1) for gpu in found.gpus}
    if len(found.nodes) > 1 and len(found.gpus) > 1 and nodes == {-1}:
        yield "no GPU says on which NUMA node it is: the firmware hides it, and engines cannot be kept near their GPUs"


def sysctl_file(chosen: Mapping[str, str]) -> str:
    """The file under /etc/sysctl.d, each value with its reason."""
    why = {value.key: value.why for value in TABLE}
    body = "".join(
        f"# {why.get(key, 'Asked for in the inventory.')}\n{key} = {value}\n" for key, value in chosen.items()
    )
    return "# Managed by Ironrack (role host_tuning): edit the inventory, not this file.\n" + body


def limits_file() -> str:
    """The file under /etc/security/limits.d."""
    body = "".join(f"# {why}\n* - {name} {value}\nroot - {name} {value}\n" for name, value, why in LIMITS)
    return "# Managed by Ironrack (role host_tuning): edit the inventory, not this file.\n" + body


def table() -> str:
    """Everything with its reason, in Markdown."""
    rows = [
        *((f"`{each.key}`", f"{'at least ' if each.floor else ''}`{each.value}`", each.why) for each in TABLE),
        *((f"limit `{name}`", f"`{value}`", why) for name, value, why in LIMITS),
        *((name, f"`{value}`", why) for name, value, why in OTHERS),
    ]
    return "\n".join(["| what | value | why |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows)])
