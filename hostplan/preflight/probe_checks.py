"""What the GPUs did inside the engine image: computing, reducing together, and what the container gave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hostplan.preflight.finding import Finding, ok, refused, skipped, warning

CUDA, NCCL, ROOM = "CUDA", "NCCL", "container limits"
GIB = 2**30
SHM_BYTES = GIB  # NCCL and vLLM's workers share rings and results there
STACK_BYTES = 8 * 2**20  # Linux' own default; threads of compiled kernels and tokenizers are made for it
NOFILE = 8192  # each stream and each shard of the weights is an open file; recent Dockers give 1024
UNLIMITED = (-1, 2**64 - 1)
_MPS = "see docs/operations/preflight.md"


def checks(probes: Sequence[Mapping[str, Any]], iommu: bool) -> list[Finding]:
    """Every group's answer; `iommu`: whether the host translates what its devices write, which can stop peer access."""
    return [finding for probe in probes for finding in _probe(probe, iommu)]


def proven(probes: Sequence[Mapping[str, Any]], gpus: int) -> bool:
    """Whether every GPU of the host computed just now."""
    good = {
        gpu
        for probe in probes
        if (answer := probe["answer"]) and not answer["error"] and not any(each["error"] for each in answer["gpus"])
        for gpu in probe["gpus"]
    }
    return gpus > 0 and len(good) >= gpus


def _probe(probe: Mapping[str, Any], iommu: bool) -> list[Finding]:
    name, answer = probe["engine"], probe["answer"]
    if probe["skipped"]:
        return [skipped(CUDA, f"{name}: {probe['skipped']}")]
    if answer is None:
        remedy = "correct what Docker says; docs/operations/preflight.md lists the usual causes"
        return [refused(CUDA, f"{name}: no answer from the engine image: {probe['error']}", "it must start", remedy)]
    return [*_cuda(name, probe, answer), *_nccl(name, answer["all_reduce"], iommu), *_room(name, answer)]


def _cuda(name: str, probe: Mapping[str, Any], answer: Mapping[str, Any]) -> list[Finding]:
    if answer["error"]:
        return [
            refused(CUDA, f"{name}: {answer['error']}", "every GPU must compute in the engine image", _cause(answer))
        ]
    if len(answer["gpus"]) != len(probe["gpus"]):
        text = f"{name}: {len(answer['gpus'])} GPUs in the container"
        return [refused(CUDA, text, f"{len(probe['gpus'])} were given to it", "refresh the CDI specification")]
    wrong = [each for each in answer["gpus"] if each["error"]]
    return [
        refused(CUDA, f"{name}: GPU {probe['gpus'][each['index']]}: {each['error']}", "it must be exact", "replace it")
        for each in wrong
    ] or [ok(CUDA, f"{name}: {len(answer['gpus'])} GPUs compute (CUDA {answer['cuda']}, torch {answer['torch']})")]


def _cause(answer: Mapping[str, Any]) -> str:
    known = {
        "802": "start Fabric Manager in the driver's version",
        "803": "the image brings another CUDA library than the driver: see the known pairs of versions",
        "804": "the driver is too old for this image: upgrade it",
        "forward compatibility": "the driver is too old for this image: upgrade it",
        "too old": "the driver is too old for this image: upgrade it",
        "999": "drain this host and restart it",
    }
    return next((words for text, words in known.items() if text in answer["error"]), _MPS)


def _nccl(name: str, found: Mapping[str, Any] | None, iommu: bool) -> list[Finding]:
    if found is None:
        return []
    if found["error"]:
        remedy = "look at nvidia-smi topo -m; NCCL_P2P_DISABLE=1 in stack_engines.env goes around it and costs speed"
        if iommu:
            remedy = f"an IOMMU is on: switch it or ACS off in the BIOS, or set iommu=pt; {remedy}"
        return [refused(NCCL, f"{name}: {found['error']}", "its GPUs must reduce together", remedy)]
    speed = found["bytes"] / found["seconds"] / 1e9 if found["seconds"] else 0.0
    together = f"{found['world']} GPUs reduce {found['bytes'] // 2**20} MiB in {found['seconds'] * 1000:.1f} ms"
    return [ok(NCCL, f"{name}: {together} ({speed:.0f} GB/s)")] if found["world"] > 1 else []


def _room(name: str, answer: Mapping[str, Any]) -> list[Finding]:
    found = []
    if answer["shm_bytes"] < SHM_BYTES and len(answer["gpus"]) > 1:
        text = f"{name}: {answer['shm_bytes'] / GIB:.2f} GiB of shared memory"
        remedy = "set stack_engines.shared_memory: host, or a size such as 16g"
        found.append(refused(ROOM, text, "several GPUs need 1 GiB and more", remedy))
    found += _limits(name, answer["limits"])
    return found or [
        ok(
            ROOM,
            f"{name}: shared memory {answer['shm_bytes'] / GIB:.0f} GiB, memlock unlimited, nofile and stack enough",
        )
    ]


def _limits(name: str, limits: Mapping[str, int]) -> list[Finding]:
    """What the container may lock, open and stack, beside what an engine needs."""
    found = []
    if limits["memlock"] not in UNLIMITED:
        text = f"{name}: memlock {limits['memlock']}"
        found.append(warning(ROOM, text, "unlimited is needed for pinned memory", "let Docker give ulimits"))
    for limit, least, why in (
        ("nofile", NOFILE, "streams and shards are open files"),
        ("stack", STACK_BYTES, "compiled kernels and tokenizers crash below it"),
    ):
        if limits[limit] not in UNLIMITED and limits[limit] < least:
            text, allowed = f"{name}: {limit} {limits[limit]}", f"at least {least} is needed, {why}"
            remedy = f"set docker_default_ulimits: {{{limit}: {least * 8}}}, or raise the limit of docker.service"
            found.append(warning(ROOM, text, allowed, remedy))
    return found
