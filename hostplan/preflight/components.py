"""What a host will run once the deployment is over, by the names of the table of known-bad pairs.

A fresh host has neither driver nor toolkit nor image: what is planned is judged there, and what is there where nothing
comes. A driver that waits for a restart nobody allowed leaves the old one to the engines: then both are judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hostplan.preflight import gpu_checks, want
from hostplan.preflight.versions import numbers, within

_COMPATIBILITY = "VLLM_ENABLE_CUDA_COMPATIBILITY"
_OFFICIAL = "vllm-openai"


@dataclass(frozen=True, slots=True)
class Components:
    """Versions and values by name, empty where there is none; `coming` are those that are not on the host yet."""

    found: Mapping[str, str]
    coming: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EngineCuda:
    """Releases of vLLM, as a constraint, and the CUDA that the project's own images of them bring."""

    vllm: str
    cuda: str


def read(entries: Iterable[Mapping[str, Any]]) -> tuple[EngineCuda, ...]:
    """The table of images out of parsed YAML. Raises ValueError for a constraint that is none."""
    found = tuple(EngineCuda(str(entry["vllm"]), str(entry["cuda"])) for entry in entries)
    for entry in found:
        within("1", entry.vllm)
    return found


def of_host(
    plan: want.Plan, host: str, facts: Mapping[str, Any], images: Iterable[EngineCuda] = ()
) -> list[Components]:
    """Each set of versions that will meet on a host. `facts["planned"]`: what the roles are about to install."""
    has_gpus = want.gpus(plan, host) > 0
    planned = facts.get("planned", {})
    docker, docker_comes = _docker(facts, planned)
    engine, engine_coming = _engine(plan, host, facts, tuple(images))
    toolkit, toolkit_comes = _toolkit(facts, planned) if has_gpus else ("", False)
    base = {
        "kernel": facts["system"]["kernel"],
        "os": facts["system"]["os"],
        "toolkit": toolkit,
        "docker": docker,
        "injection": str(plan["settings"]["engines"].get("gpu_injection", "")) if has_gpus else "",
        **engine,
    }
    others = engine_coming | ({"toolkit"} if toolkit_comes else set()) | ({"docker"} if docker_comes else set())
    return [
        Components({**base, **driver}, frozenset(others | coming))
        for driver, coming in (_drivers(facts, planned) if has_gpus else [({"driver": "", "modules": ""}, set())])
    ]


def tag(image: str) -> str:
    """An image's tag, as `v0.29.0`, or an empty text."""
    name, colon, text = image.split("@", maxsplit=1)[0].rpartition(":")
    return text if colon and "/" not in text and name else ""


def cuda_of(image: str, images: Iterable[EngineCuda]) -> str:
    """The CUDA of vLLM's own image by its name: `v0.29.0-cu129` says it, else its release; others are not known."""
    version = tag(image)
    if image.split("@", maxsplit=1)[0].removesuffix(f":{version}").rpartition("/")[2] != _OFFICIAL:
        return ""
    _, suffix, digits = version.rpartition("-cu")
    if suffix and digits.isdigit() and len(digits) == 3:
        return f"{digits[:2]}.{digits[2]}"
    return next((each.cuda for each in images if within(version, each.vllm)), "")


def _engine(
    plan: want.Plan, host: str, facts: Mapping[str, Any], images: tuple[EngineCuda, ...]
) -> tuple[dict[str, str], set[str]]:
    engines = want.engines(plan, host)
    image = engines[0]["image"] if engines else ""
    there = facts["images"].get(image, {})
    cuda = there.get("cuda", "") if there.get("present") else cuda_of(image, images)
    # With this set the image brings a newer CUDA library than the driver's, which server cards allow.
    compatible = bool(engines) and engines[0]["env"].get(_COMPATIBILITY) == "1"
    coming = set() if there.get("present") or not image else {"cuda", "vllm"}
    return {"cuda": "" if compatible else cuda, "vllm": tag(image)}, coming


def _toolkit(facts: Mapping[str, Any], planned: Mapping[str, Any]) -> tuple[str, bool]:
    here, wanted = facts["containers"]["toolkit"], str(planned.get("toolkit") or "")
    comes = bool(wanted) and numbers(wanted) != numbers(here)
    return (wanted if comes else here), comes


def _docker(facts: Mapping[str, Any], planned: Mapping[str, Any]) -> tuple[str, bool]:
    """A daemon that answers is kept; what comes to a host without one is known for some distributions."""
    here, wanted = facts["containers"]["docker"], str(planned.get("docker") or "")
    return (here, False) if here else (wanted, bool(wanted))


def _drivers(facts: Mapping[str, Any], planned: Mapping[str, Any]) -> list[tuple[dict[str, str], set[str]]]:
    running, wanted = gpu_checks.loaded(facts), str(planned.get("driver") or "")
    here = ({"driver": running, "modules": "open" if gpu_checks.is_open(facts) else "proprietary"}, set[str]())
    if not wanted or running == wanted or running.startswith(f"{wanted}."):
        return [here]
    after = ({"driver": wanted, "modules": str(planned.get("modules") or "")}, {"driver", "modules"})
    return [here, after] if running and planned.get("waits") else [after]
