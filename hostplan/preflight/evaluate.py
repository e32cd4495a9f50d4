"""Facts and plan in, findings out: every check of every host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hostplan.preflight import (
    components,
    declared,
    fit_checks,
    gpu_checks,
    host_checks,
    known_bad,
    probe_checks,
    smi,
    tuning_checks,
    want,
    xids,
)
from hostplan.preflight.finding import Finding, skipped
from hostplan.preflight.known_bad import KnownBad

NO_GPU = "no GPU expected here"


@dataclass(frozen=True, slots=True)
class Rules:
    """Data that judging needs. `at_once`: answers of full length that a model must have room for."""

    known_bad: tuple[KnownBad, ...] = ()
    fatal_xids: Mapping[int, str] = field(default_factory=dict)
    at_once: int = 1
    engine_cuda: tuple[components.EngineCuda, ...] = ()


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
        *known_bad.check(components.of_host(plan, host, facts, rules.engine_cuda), rules.known_bad),
        *host_checks.images(plan, host, facts),
        *host_checks.weights(plan, host, facts),
        *fit_checks.checks(plan, host, facts, seen, rules.at_once),
        *host_checks.network(facts),
        *tuning_checks.checks(facts),
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
        *declared.check(facts, seen, expected),
    ]
    if seen:
        found += [
            *gpu_checks.alike(seen, want.groups(plan, host)),
            *gpu_checks.health(seen, bool(running)),
            *gpu_checks.fabric(facts, seen),
            *gpu_checks.kernel_log(facts, errors, probe_checks.proven(probes, expected)),
        ]
    # Also without nvidia-smi: an engine image that got no GPU says why, and is refused.
    return [*found, *probe_checks.checks(probes, facts["system"]["iommu"])]


def refusals(findings: Iterable[Finding]) -> list[str]:
    """Sentences of what stops a deployment."""
    return [f"{each.check}: {each.text}" for each in findings if each.level == "refused"]
