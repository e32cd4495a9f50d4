"""Hosts by node-exporter, GPUs by dcgm-exporter, and what the GPU watcher writes beside them."""

from __future__ import annotations

from observe.rules.parts import Group, Record

_DISKS = 'fstype!~"tmpfs|ramfs|devtmpfs|squashfs|iso9660|nsfs|proc|sysfs", mountpoint!~"/(run|proc|sys|dev)(/.*)?"'
_CARDS = 'device!~"lo|veth.*|docker.*|br-.*|virbr.*|cni.*|flannel.*"'
# DCGM's way to write that it does not know; no real value comes near.
_KNOWN = "< 9e18"
_THROTTLED = {
    "thermal": "DCGM_FI_DEV_THERMAL_VIOLATION",
    "power": "DCGM_FI_DEV_POWER_VIOLATION",
    "board": "DCGM_FI_DEV_BOARD_LIMIT_VIOLATION",
    "reliability": "DCGM_FI_DEV_RELIABILITY_VIOLATION",
}
_NVLINK_ERRORS = ("CRC_FLIT", "CRC_DATA", "REPLAY", "RECOVERY")
_XID = "ironrack_gpu_xid_total"
MIB, MHZ = 1024 * 1024, 1_000_000


def hosts(window: str) -> tuple[Group, ...]:
    """The groups that read hosts and GPUs."""
    return (
        Group("hosts", 15, (*_host(window), *_watched())),
        Group("gpus", 15, (*_gpu_now(), *_gpu_rates(window), *_gpu_faults())),
    )


def of_gpu(expr: str, how: str = "max", more: str = "") -> str:
    """Aggregate by GPU: parts of one (MIG) count as one."""
    return f"{how} by (host, gpu{more}) ({expr})"


def _host(window: str) -> tuple[Record, ...]:
    idle = f'avg by (host) (rate(node_cpu_seconds_total{{mode="idle"}}[{window}]))'
    free, size = (f"min by (host, mountpoint) (node_filesystem_{what}_bytes{{{_DISKS}}})" for what in ("avail", "size"))
    memory = "max by (host) (node_memory_MemAvailable_bytes)"
    return (
        Record("host_up", 'max by (host) (up{job="node"})'),
        Record("host_cpu_usage_ratio", f"1 - {idle}"),
        Record("host_memory_available_bytes", memory),
        Record("host_memory_available_ratio", f"{memory} / max by (host) (node_memory_MemTotal_bytes)"),
        Record("host_clock_offset_seconds", "max by (host) (node_time_seconds - timestamp(node_time_seconds))"),
        Record("host_disk_free_bytes", free),
        Record("host_disk_free_ratio", f"{free} / ({size} > 0)"),
        *(
            Record(f"host_disk_{name}_bytes:rate", f"sum by (host) (rate(node_disk_{name}_bytes_total[{window}]))")
            for name in ("read", "written")
        ),
        *(
            Record(
                f"host_network_{name}_bytes:rate",
                f"sum by (host, device) (rate(node_network_{name}_bytes_total{{{_CARDS}}}[{window}]))",
            )
            for name in ("receive", "transmit")
        ),
    )


def _watched() -> tuple[Record, ...]:
    seen = "max by (host) (ironrack_gpu_visible) or count by (host) (count by (host, gpu) (DCGM_FI_DEV_GPU_TEMP))"
    return (
        Record("host_reboot_required", "max by (host) (ironrack_reboot_required)"),
        Record("host_driver_mismatch", "max by (host) (ironrack_driver_mismatch)"),
        Record("host_gpus_expected", "max by (host) (ironrack_gpu_expected)"),
        Record("host_gpus_visible", seen),
    )


def _gpu_now() -> tuple[Record, ...]:
    used, free = (f"max by (host, gpu) (DCGM_FI_DEV_FB_{what} {_KNOWN})" for what in ("USED", "FREE"))
    return (
        Record("gpu_usage_ratio", of_gpu(f"DCGM_FI_DEV_GPU_UTIL {_KNOWN}") + " / 100"),
        Record("gpu_tensor_active_ratio", of_gpu(f"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE {_KNOWN}")),
        Record("gpu_memory_used_bytes", f"{used} * {MIB}"),
        Record("gpu_memory_used_ratio", f"{used} / ({used} + {free} > 0)"),
        Record("gpu_temperature_celsius", of_gpu(f"DCGM_FI_DEV_GPU_TEMP {_KNOWN}")),
        Record("gpu_memory_temperature_celsius", of_gpu(f"DCGM_FI_DEV_MEMORY_TEMP {_KNOWN}")),
        Record("gpu_power_watts", of_gpu(f"DCGM_FI_DEV_POWER_USAGE {_KNOWN}")),
        Record("gpu_sm_clock_hertz", of_gpu(f"DCGM_FI_DEV_SM_CLOCK {_KNOWN}") + f" * {MHZ}"),
    )


def _gpu_rates(window: str) -> tuple[Record, ...]:
    replays = f"rate(DCGM_FI_DEV_PCIE_REPLAY_COUNTER[{window}])"
    # The exporter counts it in MiB, of all lanes together.
    links = f"rate(DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL[{window}])"
    return (
        *(
            Record("gpu_throttled:rate", of_gpu(f"rate({raw}[{window}])"), {"reason": reason})
            for reason, raw in _THROTTLED.items()
        ),
        Record("gpu_nvlink_bytes:rate", of_gpu(links) + f" * {MIB}"),
        Record("gpu_pcie_replays:rate", of_gpu(replays)),
    )


def _gpu_faults() -> tuple[Record, ...]:
    """Faults of a GPU. A counter that is new starts from nothing: its first value is a fault, too.

    A fatal one counts as long as the watcher holds it against the GPU, which is until somebody clears it.
    """
    kinds = {"corrected": "SBE", "uncorrected": "DBE"}
    rows = {"corrected": "CORRECTABLE", "uncorrected": "UNCORRECTABLE"}
    new = f"clamp_min({_XID} - ({_XID} offset 15m or {_XID} * 0), 0)"
    held = f'{_XID}{{fatal="1"}} > 0 and on (host, gpu) ironrack_gpu_fault == 1'
    return (
        *(
            Record("gpu_ecc_errors:1h", of_gpu(f"increase(DCGM_FI_DEV_ECC_{raw}_VOL_TOTAL[1h])"), {"kind": kind})
            for kind, raw in kinds.items()
        ),
        *(
            Record("gpu_remapped_rows", of_gpu(f"DCGM_FI_DEV_{raw}_REMAPPED_ROWS {_KNOWN}"), {"kind": kind})
            for kind, raw in rows.items()
        ),
        Record("gpu_row_remap_failed", of_gpu(f"DCGM_FI_DEV_ROW_REMAP_FAILURE {_KNOWN}")),
        Record("gpu_xid_last", of_gpu(f"DCGM_FI_DEV_XID_ERRORS {_KNOWN}")),
        Record("gpu_xid:15m", of_gpu(f"{held} or {new}", "sum", ", xid, fatal")),
        *(
            Record(
                "gpu_nvlink_errors:1h",
                of_gpu(f"increase(DCGM_FI_DEV_NVLINK_{raw}_ERROR_COUNT_TOTAL[1h])"),
                {"kind": raw.lower()},
            )
            for raw in _NVLINK_ERRORS
        ),
    )
