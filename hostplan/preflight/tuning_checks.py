"""What the role host_tuning reports of a host: where its GPUs are, IOMMU and ACS. Nothing of it stops a deployment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hostplan.preflight.finding import Finding, Level, ok, skipped

TOPOLOGY, SETTINGS = "topology", "host tuning"


def checks(facts: Mapping[str, Any]) -> list[Finding]:
    """`facts["tuning"]` is the role's report; nothing where the role did not look."""
    said = facts.get("tuning") or {}
    if not said:
        return []
    return [
        ok(TOPOLOGY, topology(said)),
        *(Finding(TOPOLOGY, Level.WARNING, text) for text in said["warnings"]),
        *_settings(said),
    ]


def topology(said: Mapping[str, Any]) -> str:
    """NUMA nodes with their CPUs, how many GPUs are near each, what translates and redirects."""
    nodes = said["numa_nodes"]
    cpus = ", ".join(f"{name}: CPUs {cpus}" for name, cpus in sorted(nodes.items()))
    near = Counter(gpu.get("node", -1) for gpu in said["gpus"])
    gpus = ", ".join(
        f"{count} on node {node}" if node >= 0 else f"{count} on a node that nobody tells"
        for node, count in sorted(near.items())
    )
    return "; ".join(
        [
            f"NUMA {cpus}" if cpus else "NUMA nodes not told",
            f"GPUs: {gpus or 'none'}",
            f"IOMMU {said['iommu'] or 'off'}",
            f"ACS redirects at {', '.join(said['acs'])}" if said["acs"] else "ACS redirects nowhere",
        ]
    )


def _settings(said: Mapping[str, Any]) -> list[Finding]:
    differs = sorted(said["differs"])
    found = [skipped(SETTINGS, "; ".join(said["skipped"]))] if said["skipped"] else []
    if differs:
        return [ok(SETTINGS, f"a deployment sets {', '.join(differs)}"), *found]
    return found or [ok(SETTINGS, "kernel settings are as wanted")]
