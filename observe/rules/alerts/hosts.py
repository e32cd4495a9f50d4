"""Hosts and GPUs."""

from __future__ import annotations

from observe.rules.parts import Alert

_HOST, _GPU = "{{ $labels.host }}", "GPU {{ $labels.gpu }} of {{ $labels.host }}"
# The images and weights of a deployment's first minutes are no pace: it counts once it was watched for hours.
_FREE = "ironrack:host_disk_free_bytes"
_ENDING = f"predict_linear({_FREE}[6h], 86400) < 0 and {_FREE} offset 3h > 0"


def host_alerts() -> tuple[Alert, ...]:
    """Disks, clocks, and hosts that are away."""
    return (
        Alert(
            "HostDown",
            "critical",
            "max by (host) (ironrack:target_up) == 0",
            f"Nothing on {_HOST} answers",
            f"Not one of the services of {_HOST} could be read: the host or its network is down.",
            "fleet",
            "1m",
        ),
        Alert(
            "DiskFilling",
            "warning",
            f"ironrack:host_disk_free_ratio < 0.1 or (ironrack:host_disk_free_ratio < 0.3 and {_ENDING})",
            f"A disk of {_HOST} fills up",
            "{{ $labels.mountpoint }} has {{ $value | humanizePercentage }} left, or will be full within a day:"
            " weights, images, logs or metrics.",
            "gpu",
            "15m",
        ),
        Alert(
            "DiskFull",
            "critical",
            "ironrack:host_disk_free_ratio < 0.03",
            f"A disk of {_HOST} is all but full",
            "{{ $labels.mountpoint }} has {{ $value | humanizePercentage }} left: no weights can be loaded, logs stop.",
            "gpu",
            "2m",
        ),
        Alert(
            "ClockSkewed",
            "warning",
            "abs(ironrack:host_clock_offset_seconds) > 2",
            f"The clock of {_HOST} is wrong",
            f"{_HOST} differs from the host of Prometheus by {{{{ $value | humanizeDuration }}}}: lines of logs do"
            " not fit together, and certificates may look invalid.",
            "gpu",
            "10m",
        ),
        Alert(
            "RebootRequired",
            "info",
            "ironrack:host_reboot_required == 1",
            f"{_HOST} waits for a reboot",
            "A kernel, driver or library was replaced on the disk; what runs is still the old one.",
            "gpu",
            "1h",
        ),
    )


def gpu_alerts() -> tuple[Alert, ...]:
    """What a GPU does before and after it fails."""
    return (
        Alert(
            "GpuMissing",
            "critical",
            "ironrack:host_gpus_visible < on (host) ironrack:host_gpus_expected"
            " or (ironrack:host_gpus_expected > 0 unless on (host) ironrack:host_gpus_visible)",
            f"A GPU of {_HOST} is gone",
            "{{ $value }} are seen by the driver. Engines that used the missing one fail, or do not start again.",
            "gpu",
            "2m",
        ),
        Alert(
            "GpuXidFatal",
            "critical",
            'ironrack:gpu_xid:15m{fatal="1"} > 0',
            f"{_GPU} failed with XID {{{{ $labels.xid }}}}",
            "The driver says that this GPU cannot go on; its engine is being drained or is dead already.",
            "gpu",
        ),
        Alert(
            "GpuXid",
            "warning",
            'ironrack:gpu_xid:15m{fatal!="1"} > 0',
            f"{_GPU} reported XID {{{{ $labels.xid }}}}",
            "{{ $value }} such faults in 15 minutes. Many come from the program, some announce a broken card.",
            "gpu",
        ),
        Alert(
            "GpuMemoryErrors",
            "critical",
            'ironrack:gpu_ecc_errors:1h{kind="uncorrected"} > 0',
            f"The memory of {_GPU} had errors that could not be corrected",
            "{{ $value | humanize }} within an hour: answers may be wrong, its engine is likely dead.",
            "gpu",
        ),
        Alert(
            "GpuRowRemapFailed",
            "critical",
            "ironrack:gpu_row_remap_failed == 1",
            f"The memory of {_GPU} can no longer be repaired",
            "Replacing a broken row of memory failed: the card has to be exchanged.",
            "gpu",
        ),
        Alert(
            "GpuThrottled",
            "warning",
            'ironrack:gpu_throttled:rate{reason!="power"} > 0',
            f"{_GPU} is slowed down",
            "Its clock is held down; reason: {{ $labels.reason }}. Answers of its engine take longer.",
            "gpu",
            "10m",
        ),
        Alert(
            "DriverMismatch",
            "critical",
            "ironrack:host_driver_mismatch == 1",
            f"The GPU driver on {_HOST} was replaced under the running one",
            "Running engines go on; none can start until the host was rebooted or the driver loaded anew.",
            "gpu",
            "2m",
        ),
    )
