#!/usr/bin/python
"""Ansible module: whether a host has room for its engines: weights, disk, memory, GPUs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: engine_room
short_description: Whether a host has room for its engines
description:
  - Looks at weights, disk, memory and GPUs, and compares them with what the engines of this host need. Changes nothing.
options:
  engines:
    description: Engines of this host, as the plan lists them.
    type: list
    elements: dict
    required: true
  models:
    description: Models of the stack, with C(source), C(weights_staged) and C(adapters).
    type: list
    elements: dict
    required: true
  running:
    description: Names of engines that run already and hold their share.
    type: list
    elements: str
    default: []
  cache_directory: {description: Where weights from the hub are kept., type: path, required: true}
  gpu_memory_share: {description: Share of a GPU's memory an engine may use., type: float, required: true}
  cpu_kv_cache_gib: {description: KV cache of an engine on the CPU., type: float, required: true}
  cpu_overhead_gib: {description: Memory an engine on the CPU takes beside those., type: float, required: true}
  gpus_coming: {description: GPUs whose driver is about to be installed., type: int, default: 0}
  arriving: {description: Bytes of weights that are about to be brought, by source., type: dict, default: {}}
  disk_reserve_gib: {description: Disk that must stay free after the weights arrived., type: float, required: true}
author: Ironrack
"""

RETURN = r"""
problems: {description: One sentence for each thing that is missing., type: list, returned: always}
"""

GIB = 2**30
_BILLIONS = re.compile(r"(?:(?P<experts>\d+)x)?(?P<count>\d+(?:\.\d+)?)(?P<unit>[bm])(?![a-z0-9])", re.IGNORECASE)
_FOUR_BITS = re.compile(r"awq|gptq|int4|w4a|fp4|4bit|gpt-oss", re.IGNORECASE)
_EIGHT_BITS = re.compile(r"fp8|int8|w8a", re.IGNORECASE)


class Engine(NamedTuple):
    """What one engine asks for."""

    name: str
    source: str
    staged: bool
    gpus: Sequence[int]


class Limits(NamedTuple):
    """What engines may use and what must stay free."""

    gpu_share: float
    kv_gib: float
    overhead_gib: float
    reserve_gib: float


class Host(NamedTuple):
    """What was found. Weights by source, None where nothing is on disk; GPU memory in bytes.

    `gpus_coming`: GPUs that answer to no driver yet and will when this run has installed one.
    """

    weights: Mapping[str, int | None]
    disk_free: int
    memory_free: int
    gpu_bytes: Sequence[int]
    gpus_coming: int = 0


def guess_bytes(source: str) -> int | None:
    """Size of a model's weights from the number in its name (`-8B`, `-8x7B`, `-135M`), or None."""
    found = list(_BILLIONS.finditer(source.rsplit("/", maxsplit=1)[-1]))
    if not found:
        return None
    last = max(found, key=lambda match: float(match["count"]) * (1000 if match["unit"] in "bB" else 1))
    scale = 10**9 if last["unit"] in "bB" else 10**6
    each = 0.6 if _FOUR_BITS.search(source) else 1 if _EIGHT_BITS.search(source) else 2
    return int(int(last["experts"] or 1) * float(last["count"]) * scale * each)


def size(engine: Engine, host: Host) -> int:
    """Bytes of an engine's weights as far as can be known; 0 when not at all."""
    return host.weights.get(engine.source) or guess_bytes(engine.source) or 0


def problems(engines: Sequence[Engine], running: Sequence[str], host: Host, limits: Limits) -> list[str]:
    """Everything this host lacks, one sentence each."""
    new = [engine for engine in engines if engine.name not in running]
    found = [*_weights(engines, host), *_disk(engines, host, limits), *_memory(new, host, limits)]
    return found + _gpus(engines, host, limits)


def _weights(engines: Sequence[Engine], host: Host) -> list[str]:
    sources = {engine.source: engine for engine in reversed(engines) if host.weights.get(engine.source) is None}
    found = []
    for source, engine in sources.items():
        if source.startswith("/"):
            found.append(
                f"{engine.name}: {source}/config.json is not there: the model's folder is needed on this host; copy it"
            )
        elif engine.staged:
            found.append(
                f"{engine.name}: {source} is not in the cache: weights_staged says it is; "
                "fetch it, or set weights_staged: false"
            )
    return found


def _disk(engines: Sequence[Engine], host: Host, limits: Limits) -> list[str]:
    missing = {engine.source for engine in engines if host.weights.get(engine.source) is None}
    need = sum(guess_bytes(source) or 0 for source in missing if not source.startswith("/"))
    reserve = limits.reserve_gib * GIB if engines else 0
    if need + reserve <= host.disk_free:
        return []
    return [
        f"disk: {_gib(host.disk_free)} free: the weights still to come need about {_gib(need)} and {_gib(reserve)} "
        "stay in reserve; make room, or point stack_engines.cache_directory to a larger disk"
    ]


def _memory(engines: Sequence[Engine], host: Host, limits: Limits) -> list[str]:
    on_cpu = [engine for engine in engines if not engine.gpus]
    need = sum(size(engine, host) + (limits.kv_gib + limits.overhead_gib) * GIB for engine in on_cpu)
    if need <= host.memory_free:
        return []
    return [
        f"memory: {_gib(host.memory_free)} available: {len(on_cpu)} engines on the CPU need about {_gib(need)} "
        f"(weights, KV cache, {limits.overhead_gib:g} GiB each); "
        "lower replicas or stack_engines.cpu_kv_cache_gib, or take a smaller model"
    ]


def _gpus(engines: Sequence[Engine], host: Host, limits: Limits) -> list[str]:
    last = max((gpu for engine in engines for gpu in engine.gpus), default=-1)
    if not host.gpu_bytes and host.gpus_coming:
        return _gpus_coming(last, host)
    if last >= len(host.gpu_bytes):
        way = "" if host.gpu_bytes else "; playbooks/prepare.yml installs one and says whether the host must restart"
        return [
            f"gpus: {len(host.gpu_bytes)} answer to nvidia-smi: the plan uses GPU {last}; "
            f"correct stack_gpus, or mend the driver{way}"
        ]
    return [text for engine in engines if engine.gpus for text in _gpu_memory(engine, host, limits)]


def _gpus_coming(last: int, host: Host) -> list[str]:
    """Without a driver GPUs can be counted and no more; their memory is looked at when it is there."""
    if last < host.gpus_coming:
        return []
    return [
        f"gpus: {host.gpus_coming} on the PCI bus, their driver still to come: the plan uses GPU {last}; "
        "correct stack_gpus, or look for the missing card"
    ]


def _gpu_memory(engine: Engine, host: Host, limits: Limits) -> list[str]:
    share = size(engine, host) / len(engine.gpus)
    room = min(host.gpu_bytes[gpu] for gpu in engine.gpus) * limits.gpu_share
    if share < room:
        return []
    return [
        f"{engine.name}: {_gib(room)} of GPU memory may be used: the weights alone take about {_gib(share)} "
        "on each; raise gpus_per_replica, or take a smaller or quantised model"
    ]


def _gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB"


def weights_on_disk(source: str, cache: Path) -> int | None:
    """Bytes of a model that is here already, or None."""
    folder = (
        Path(source)
        if source.startswith("/")
        else cache / "huggingface" / "hub" / f"models--{source.replace('/', '--')}"
    )
    present = (folder / "config.json").exists() if source.startswith("/") else (folder / "snapshots").is_dir()
    if not present:
        return None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def disk_free(folder: Path) -> int:
    """Free bytes where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def memory_free(meminfo: str) -> int:
    """MemAvailable out of the text of /proc/meminfo, in bytes."""
    return next(int(line.split()[1]) * 1024 for line in meminfo.splitlines() if line.startswith("MemAvailable:"))


def gpu_bytes() -> list[int]:
    """Memory of each GPU nvidia-smi lists, none without a driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return [int(line) * 2**20 for line in done.stdout.split() if line.isdigit()]


def engines_of(services: Sequence[Mapping[str, Any]], models: Sequence[Mapping[str, Any]]) -> list[Engine]:
    """The plan's services beside the models they serve."""
    by_name = {model["name"]: model for model in models}
    return [
        Engine(s["name"], by_name[s["model"]]["source"], by_name[s["model"]]["weights_staged"], s["gpus"])
        for s in services
    ]


def adapters_missing(
    services: Sequence[Mapping[str, Any]], models: Sequence[Mapping[str, Any]], arriving: Iterable[str] = ()
) -> list[str]:
    """Folders of adapters that the engines of this host would not find, one sentence each."""
    here = {service["model"] for service in services}
    folders = {
        adapter["source"]: f"{model['name']}: adapter {adapter['name']}"
        for model in models
        if model["name"] in here
        for adapter in model.get("adapters", [])
        if adapter["source"].startswith("/")
    }
    return [
        f"{what}: {folder}/adapter_config.json is not there: the adapter's folder is needed on this host; copy it"
        for folder, what in folders.items()
        if folder not in arriving and not (Path(folder) / "adapter_config.json").exists()
    ]


def look(engines: Sequence[Engine], cache: Path, arriving: Mapping[str, int], gpus_coming: int = 0) -> Host:
    """What the host has of what the engines need; the bundle's own check looks whether what arrives fits."""
    on_disk = {engine.source: weights_on_disk(engine.source, cache) for engine in engines}
    return Host(
        {source: arriving.get(source) if count is None else count for source, count in on_disk.items()},
        disk_free(cache),
        memory_free(Path("/proc/meminfo").read_text()),
        gpu_bytes() if any(engine.gpus for engine in engines) else [],
        gpus_coming,
    )


def main() -> None:
    """Entry point."""
    number = {"type": "float", "required": True}
    module = AnsibleModule(
        argument_spec={
            "engines": {"type": "list", "elements": "dict", "required": True},
            "models": {"type": "list", "elements": "dict", "required": True},
            "running": {"type": "list", "elements": "str", "default": []},
            "cache_directory": {"type": "path", "required": True},
            "gpu_memory_share": number,
            "cpu_kv_cache_gib": number,
            "cpu_overhead_gib": number,
            "disk_reserve_gib": number,
            "arriving": {"type": "dict", "default": {}},
            "gpus_coming": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    values = module.params
    engines = engines_of(values["engines"], values["models"])
    limits = Limits(
        values["gpu_memory_share"], values["cpu_kv_cache_gib"], values["cpu_overhead_gib"], values["disk_reserve_gib"]
    )
    host = look(engines, Path(values["cache_directory"]), values["arriving"], values["gpus_coming"])
    found = problems(engines, values["running"], host, limits)
    module.exit_json(
        changed=False, problems=[*found, *adapters_missing(values["engines"], values["models"], values["arriving"])]
    )


if __name__ == "__main__":
    main()
