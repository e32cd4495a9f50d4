"""What runs beside engines on a host with GPUs: the exporter of their numbers, and the watcher of their faults.

The exporter is a container like any other. The watcher is a service of the host itself: it must speak when Docker does
not. Counters by NVIDIA's names: https://docs.nvidia.com/datacenter/dcgm/latest/dcgm-api/dcgm-api-field-ids.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stackplan.ground import ALL, Ground, reachable
from stackplan.model import LOOPBACK, Health, Host, Listen, Service
from stackplan.settings import Settings

COUNTERS_FOLDER = "/etc/dcgm-exporter/ironrack"
_GAUGES = {
    "DCGM_FI_DEV_GPU_UTIL": "Share of time in which a kernel ran (%).",
    "DCGM_FI_DEV_FB_USED": "Memory in use (MiB).",
    "DCGM_FI_DEV_FB_FREE": "Memory that is free (MiB).",
    "DCGM_FI_DEV_GPU_TEMP": "Temperature of the chip (C).",
    "DCGM_FI_DEV_MEMORY_TEMP": "Temperature of the memory (C).",
    "DCGM_FI_DEV_POWER_USAGE": "Power drawn (W).",
    "DCGM_FI_DEV_SM_CLOCK": "Clock of the multiprocessors (MHz).",
    "DCGM_FI_DEV_XID_ERRORS": "Number of the last XID.",
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": "Whether a bad row could not be replaced.",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": "Share of time in which the tensor cores worked.",
}
_COUNTERS = {
    "DCGM_FI_DEV_POWER_VIOLATION": "Time slowed down by the power limit.",
    "DCGM_FI_DEV_THERMAL_VIOLATION": "Time slowed down by heat.",
    "DCGM_FI_DEV_BOARD_LIMIT_VIOLATION": "Time slowed down by the board's limit.",
    "DCGM_FI_DEV_RELIABILITY_VIOLATION": "Time slowed down for reliability.",
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": "Memory errors that ECC corrected.",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": "Memory errors that ECC could not correct.",
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": "Rows replaced after corrected errors.",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": "Rows replaced after uncorrected errors.",
    "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": "Bytes over NVLink.",
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL": "NVLink errors in flow control.",
    "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL": "NVLink errors in data.",
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL": "NVLink transfers repeated.",
    "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL": "NVLink recoveries.",
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": "PCIe transfers repeated.",
}


def gpu_hosts(settings: Settings, hosts: Sequence[Host]) -> list[Host]:
    """Engine hosts whose GPUs the plan uses."""
    if settings.engines.device != "gpu":
        return []
    return [host for host in hosts if "engines" in host.groups and host.gpus]


def gpu_exporter(ground: Ground, host: Host) -> Service:
    """NVIDIA's exporter on one host, over all its GPUs."""
    mine = ground.settings.observe
    address, port = ground.inside(host), mine.gpu_exporter_port
    url = f"http://{reachable(address)}:{port}/health"
    return Service(
        name="gpu-exporter",
        kind="gpu_exporter",
        host=host.name,
        address=address,
        image=mine.gpu_exporter_image,
        entrypoint=["dcgm-exporter"],
        command=["-f", f"{COUNTERS_FOLDER}/counters.csv", "-a", f"{address}:{port}"],
        ports=[Listen("http", address, port)],
        gpus=tuple(range(host.gpus)),
        gpu_injection=ground.settings.engines.gpu_injection,
        mounts=[ground.config("gpu-exporter", COUNTERS_FOLDER)],
        # The image has no client for HTTP; its shell can open a connection.
        health=Health(["CMD", "bash", "-c", f"exec 3<>/dev/tcp/{reachable(address)}/{port}"], url, 15, 5, 3, 60),
        stop_grace_seconds=10,
        user="0:0",
        cap_drop=ALL,
        cap_add=["SYS_ADMIN"],  # the driver gives profiling counters to nobody else
    )


def gpu_counters(plan: Mapping[str, Any], host: str) -> str:
    """The list of counters for a host that has the exporter, an empty text for others."""
    kinds = {service["kind"] for service in plan["services"] if service["host"] == host}
    return counters() if "gpu_exporter" in kinds else ""


def counters() -> str:
    """The list of counters, as the exporter reads it: name, kind, help text."""
    rows = [*((name, "gauge", text) for name, text in _GAUGES.items())]
    rows += [(name, "counter", text) for name, text in _COUNTERS.items()]
    return "".join(f"{name}, {kind}, {text}\n" for name, kind, text in rows)


def gpu_watch(settings: Settings, hosts: Sequence[Host]) -> dict[str, dict[str, Any]]:
    """By host with a watcher: where it answers, how many GPUs it must see, and who may ask it."""
    if not settings.engines.gpu_watch:
        return {}
    edges = [host for host in hosts if "edge" in host.groups]
    return {host.name: _watch(settings, host, edges) for host in gpu_hosts(settings, hosts)}


def _watch(settings: Settings, host: Host, edges: Sequence[Host]) -> dict[str, Any]:
    asking = [edge.address for edge in edges if edge.name != host.name]
    return {
        "address": host.address if asking else LOOPBACK,
        "port": settings.engines.gpu_watch_port,
        "gpus": host.gpus,
        "sources": [host.address, *asking] if asking else [],
    }


def gpu_watch_rules(watched: dict[str, dict[str, Any]], host: str) -> list[dict[str, Any]]:
    """The watcher's line in a host's firewall; none where it listens on loopback."""
    mine = watched.get(host)
    if not mine or not mine["sources"]:
        return []
    return [{"service": "gpu-watch", "port": mine["port"], "sources": mine["sources"]}]
