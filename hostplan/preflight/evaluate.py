"""Facts and plan in, findings out: every check of every host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hostplan.preflight import fit_checks, gpu_checks, host_checks, known_bad, probe_checks, smi, want, xids
from hostplan.preflight.finding import Finding, skipped
from hostplan.preflight.known_bad import KnownBad

NO_GPU = "no GPU expected here"
_COMPATIBILITY = "VLLM_ENABLE_CUDA_COMPATIBILITY"


@dataclass(frozen=True, slots=True)
class Rules:
    """Data that judging needs. `at_once`: answers of full length that a model must have room for."""

    known_bad: tuple[KnownBad, ...] = ()
    fatal_xids: Mapping[int, str] = field(default_factory=dict)
    at_once: int = 1


def evaluate(
    plan: want.Plan,
    facts: Mapping[str, Mapping[str, Any]],
    rules: Rules,
    probes: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    problems: Mapping[str, Mapping[str, list[str]]] | None = None,
) -> dict[str, list[Finding]]:
    """Findings by host, for every host with facts. `problems`: by host and role, what the roles' own checks said."""
    apart = host_checks.between(facts)
    return {
        host: [
            *host_findings(plan, host, mine, rules, (probes or {}).get(host, [])),
            *([apart[host]] if host in apart else []),
            *(
                finding
                for role, texts in (problems or {}).get(host, {}).items()
                for finding in host_checks.of_role(role, texts, host)
            ),
        ]
        for host, mine in facts.items()
    }


def host_findings(
    plan: want.Plan, host: str, facts: Mapping[str, Any], rules: Rules, probes: Sequence[Mapping[str, Any]]
) -> list[Finding]:
    """Every finding of one host."""
    seen = smi.parse(facts["smi"]["xml"])
    return [
        *host_checks.system(facts),
        *host_checks.clock(facts),
        *gpus(plan, host, facts, rules, probes),
        *host_checks.containers(facts),
        *known_bad.check(components(plan, host, facts), rules.known_bad),
        *host_checks.images(plan, host, facts),
        *host_checks.weights(plan, host, facts),
        *(fit_checks.checks(plan, host, facts, seen, rules.at_once) if seen else []),
        *host_checks.network(facts),
    ]


def gpus(
    plan: want.Plan, host: str, facts: Mapping[str, Any], rules: Rules, probes: Sequence[Mapping[str, Any]]
) -> list[Finding]:
    """Everything about GPUs, or the one line that says that there is nothing to look at."""
    expected = want.gpus(plan, host)
    if not expected:
        return [skipped("gpus", NO_GPU)]
    seen = smi.parse(facts["smi"]["xml"])
    running = {service["name"] for service in want.engines(plan, host)} & set(facts["containers"]["running"])
    errors = xids.parse_all(facts["kernel_log"]["lines"], rules.fatal_xids)
    found = [
        *gpu_checks.present(facts, expected),
        *gpu_checks.driver(facts),
        *gpu_checks.supported(facts),
        *gpu_checks.visible(facts, seen, expected),
    ]
    if seen:
        found += [
            *gpu_checks.alike(seen, want.groups(plan, host)),
            *gpu_checks.health(seen, bool(running)),
            *gpu_checks.fabric(facts, seen),
            *gpu_checks.kernel_log(facts, errors, probe_checks.proven(probes, expected)),
            *probe_checks.checks(probes, facts["system"]["iommu"]),
        ]
    return found


def components(plan: want.Plan, host: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """What a host runs, by the names of the table of known-bad pairs; what it does not have is empty."""
    engines = want.engines(plan, host)
    has_gpus = want.gpus(plan, host) > 0
    image = engines[0]["image"] if engines else ""
    # With this set the image brings a newer CUDA library than the driver's, which server cards allow.
    compatible = bool(engines) and engines[0]["env"].get(_COMPATIBILITY) == "1"
    return {
        "driver": gpu_checks.loaded(facts) if has_gpus else "",
        "modules": "open" if gpu_checks.is_open(facts) else "proprietary",
        "kernel": facts["system"]["kernel"],
        "os": facts["system"]["os"],
        "cuda": "" if compatible else facts["images"].get(image, {}).get("cuda", ""),
        "toolkit": facts["containers"]["toolkit"] if has_gpus else "",
        "docker": facts["containers"]["docker"],
        "injection": str(plan["settings"]["engines"].get("gpu_injection", "")) if has_gpus else "",
        "vllm": tag(image),
    }


def tag(image: str) -> str:
    """An image's tag, as `v0.29.0`, or an empty text."""
    name, colon, text = image.split("@", maxsplit=1)[0].rpartition(":")
    return text if colon and "/" not in text and name else ""


def refusals(findings: Iterable[Finding]) -> list[str]:
    """Sentences of what stops a deployment."""
    return [f"{each.check}: {each.text}" for each in findings if each.level == "refused"]
