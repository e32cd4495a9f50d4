"""GPU and host: the hardware below, its faults, and the machine around it."""

from __future__ import annotations

from observe.dashboards.model import Board, Panel, Row, ask, over, under
from observe.dashboards.variables import HOST
from observe.dashboards.variables import OF_HOST as H

_GPU = "{{host}} GPU {{gpu}}"
_STALL = "Held down by heat or power, it serves slower than its like, and its engine looks slow for no reason."

_CARDS = Row(
    "GPUs",
    [
        Panel(
            101,
            "In use",
            "Time in which some kernel ran. High does not mean busy; the panel beside tells more.",
            "percentunit",
            [ask(f"ironrack:gpu_usage_ratio{H}", _GPU)],
            top=1,
        ),
        Panel(
            102,
            "Tensor cores busy",
            "Real work. Decoding small batches keeps them low: there is room for more requests.",
            "percentunit",
            [ask(f"ironrack:gpu_tensor_active_ratio{H}", _GPU)],
            top=1,
        ),
        Panel(
            103,
            "Memory in use",
            "vLLM takes its share at the start and keeps it: flat is right.",
            "percentunit",
            [ask(f"ironrack:gpu_memory_used_ratio{H}", _GPU)],
            steps=over(0.97, 0.99),
            top=1,
        ),
        Panel(
            104,
            "Memory in use, bytes",
            "The same in bytes: after an engine's end it must fall; what stays is held by a leftover process.",
            "bytes",
            [ask(f"ironrack:gpu_memory_used_bytes{H}", _GPU)],
        ),
        Panel(
            105,
            "Temperature",
            "Of the chip.",
            "celsius",
            [ask(f"ironrack:gpu_temperature_celsius{H}", _GPU)],
            steps=over(80, 87),
        ),
        Panel(
            106,
            "Temperature of the memory",
            "It throttles before the chip does.",
            "celsius",
            [ask(f"ironrack:gpu_memory_temperature_celsius{H}", _GPU)],
            steps=over(90, 95),
        ),
        Panel(
            107,
            "Power",
            "Drawn now.",
            "watt",
            [ask(f"ironrack:gpu_power_watts{H}", _GPU)],
        ),
        Panel(
            108,
            "Clock",
            "Of the multiprocessors. It falls when the GPU is idle, hot or short of power.",
            "hertz",
            [ask(f"ironrack:gpu_sm_clock_hertz{H}", _GPU)],
        ),
        Panel(
            109,
            "Held down",
            f"Above 0 while the clock is held down, by reason. {_STALL}",
            "short",
            [ask(f"ironrack:gpu_throttled:rate{H}", _GPU + ", {{reason}}")],
            alerts=("GpuThrottled",),
        ),
    ],
)

_FAULTS = Row(
    "Faults",
    [
        Panel(
            201,
            "GPUs there, of those planned",
            "A GPU that fell off the bus comes back with a reboot at best.",
            "short",
            [
                ask(f"ironrack:host_gpus_visible{H}", "{{host}}, seen"),
                ask(f"ironrack:host_gpus_expected{H}", "{{host}}, planned"),
            ],
            alerts=("GpuMissing",),
        ),
        Panel(
            202,
            "XID faults, last 15 minutes",
            "What the kernel logged. Fatal ones cost the GPU until it is reset; the runbook has the numbers.",
            "short",
            [ask(f"ironrack:gpu_xid:15m{H}", _GPU + ": XID {{xid}}")],
            steps=over(1, 1),
            alerts=("GpuXid", "GpuXidFatal"),
        ),
        Panel(
            203,
            "Last XID",
            "The number stays until the next fault, also after a repair.",
            "short",
            [ask(f"ironrack:gpu_xid_last{H}", _GPU)],
            kind="bars",
            steps=over(1, 1),
        ),
        Panel(
            204,
            "Memory errors, last hour",
            "Corrected ones are news, uncorrected ones end the engine.",
            "short",
            [ask(f"ironrack:gpu_ecc_errors:1h{H}", _GPU + ", {{kind}}")],
            steps=over(1, 100),
            alerts=("GpuMemoryErrors",),
        ),
        Panel(
            205,
            "Rows of memory replaced",
            "Spare rows in use. A handful is normal over years.",
            "short",
            [ask(f"ironrack:gpu_remapped_rows{H}", _GPU + ", {{kind}}")],
            steps=over(1, 8),
        ),
        Panel(
            206,
            "No spare row left",
            "1: the card must be exchanged.",
            "bool_yes_no",
            [ask(f"ironrack:gpu_row_remap_failed{H}", _GPU)],
            kind="states",
            steps=over(1, 1),
            alerts=("GpuRowRemapFailed",),
        ),
        Panel(
            207,
            "NVLink",
            "Bytes between GPUs: tensor parallelism lives on it. At 0 under load traffic goes over PCIe.",
            "binBps",
            [ask(f"ironrack:gpu_nvlink_bytes:rate{H}", _GPU)],
        ),
        Panel(
            208,
            "NVLink errors, last hour",
            "Repeated transfers slow everything down; many mean a bad bridge or seat.",
            "short",
            [ask(f"ironrack:gpu_nvlink_errors:1h{H}", _GPU + ", {{kind}}")],
            steps=over(1, 100),
        ),
        Panel(
            209,
            "PCIe transfers repeated",
            "A riser, a cable or a seat.",
            "ops",
            [ask(f"ironrack:gpu_pcie_replays:rate{H}", _GPU)],
            steps=over(0.1, 1),
        ),
        Panel(
            210,
            "Loaded driver is not the installed one",
            "Containers started now may fail. Reboot, or finish the upgrade.",
            "bool_yes_no",
            [ask(f"ironrack:host_driver_mismatch{H}", "{{host}}")],
            kind="states",
            steps=over(1, 1),
            alerts=("DriverMismatch",),
            width=12,
        ),
        Panel(
            211,
            "Waits for a reboot",
            "Something installed takes effect with the next start.",
            "bool_yes_no",
            [ask(f"ironrack:host_reboot_required{H}", "{{host}}")],
            kind="states",
            steps=over(1, 1),
            alerts=("RebootRequired",),
            width=12,
        ),
    ],
)

_HOST = Row(
    "Host",
    [
        Panel(
            301,
            "Hosts that answer",
            "Whether the host's exporter could be read.",
            "bool_yes_no",
            [ask(f"ironrack:host_up{H}", "{{host}}")],
            kind="states",
            steps=under(1, 1),
            alerts=("HostDown",),
        ),
        Panel(
            302,
            "CPU in use",
            "Of all cores.",
            "percentunit",
            [ask(f"ironrack:host_cpu_usage_ratio{H}", "{{host}}")],
            steps=over(0.8, 0.95),
            top=1,
        ),
        Panel(
            303,
            "Memory still to be had",
            "Near 0 the kernel ends processes, and engines are the largest.",
            "percentunit",
            [ask(f"ironrack:host_memory_available_ratio{H}", "{{host}}")],
            steps=under(0.1, 0.05),
            top=1,
        ),
        Panel(
            304,
            "Disk free",
            "Weights and compiled graphs fill disks. A full disk ends downloads, logs and metrics.",
            "percentunit",
            [ask(f"ironrack:host_disk_free_ratio{H}", "{{host}} {{mountpoint}}")],
            steps=under(0.15, 0.05),
            alerts=("DiskFilling", "DiskFull"),
            top=1,
        ),
        Panel(
            305,
            "Disk free, bytes",
            "Whether another model fits.",
            "bytes",
            [ask(f"ironrack:host_disk_free_bytes{H}", "{{host}} {{mountpoint}}")],
        ),
        Panel(
            306,
            "Disk, read and written",
            "Loading weights reads at full speed for minutes; otherwise little happens.",
            "binBps",
            [
                ask(f"ironrack:host_disk_read_bytes:rate{H}", "{{host}}, read"),
                ask(f"ironrack:host_disk_written_bytes:rate{H}", "{{host}}, written"),
            ],
        ),
        Panel(
            307,
            "Network",
            "By interface.",
            "binBps",
            [
                ask(f"ironrack:host_network_receive_bytes:rate{H}", "{{host}} {{device}}, in"),
                ask(f"ironrack:host_network_transmit_bytes:rate{H}", "{{host}} {{device}}, out"),
            ],
            width=12,
        ),
        Panel(
            308,
            "Clock is off by",
            "Against Prometheus or its time server. Seconds off make graphs and certificates lie.",
            "s",
            [ask(f"ironrack:host_clock_offset_seconds{H}", "{{host}}")],
            alerts=("ClockSkewed",),
            width=12,
        ),
    ],
)

GPU = Board(
    "ironrack-gpu",
    "GPU and host",
    "The hardware: how hard it works, what is wrong with it, and the machine around it.",
    [_CARDS, _FAULTS, _HOST],
    [HOST],
)
