"""What `nvidia-smi -q -x` says of each GPU, as values.

Names of elements changed over the years (`throttle` became `event`): both are read. `N/A` and what is not there is an
empty text, 0 or False, so that an old driver or a small card looks like one that has nothing to complain about.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

MIB = 2**20
# Idling, a cap on power and clocks somebody set are no fault.
_FAULTS = {
    "hw_slowdown": "hardware slowdown",
    "hw_thermal_slowdown": "too hot (hardware)",
    "sw_thermal_slowdown": "too hot",
    "hw_power_brake_slowdown": "power brake",
}


@dataclass(frozen=True, slots=True)
class SmiGpu:
    """One GPU as the driver sees it. `slot` is as the kernel names it: `0000:17:00.0`."""

    index: int
    slot: str
    uuid: str
    name: str
    memory_bytes: int
    used_bytes: int
    ecc: str
    uncorrected: int
    remap_pending: bool
    remap_failed: bool
    throttled: tuple[str, ...]
    mig: bool
    persistent: bool
    recovery: str
    fabric_state: str
    fabric_status: str


@dataclass(frozen=True, slots=True)
class Smi:
    """The driver's version, the newest CUDA it runs, and its GPUs in the order of their indices."""

    driver: str
    cuda: str
    gpus: tuple[SmiGpu, ...]


def parse(text: str) -> Smi | None:
    """The whole answer; None when it is empty or broken off."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError:
        return None
    gpus = tuple(_gpu(index, node) for index, node in enumerate(root.findall("gpu")))
    return Smi(_text(root, "driver_version"), _text(root, "cuda_version"), gpus)


def _gpu(index: int, node: ET.Element) -> SmiGpu:
    recovery = _text(node, "gpu_recovery_action")
    return SmiGpu(
        index=index,
        slot=slot(node.get("id", "")),
        uuid=_text(node, "uuid"),
        name=_text(node, "product_name"),
        memory_bytes=_mib(_text(node, "fb_memory_usage/total")),
        used_bytes=_mib(_text(node, "fb_memory_usage/used")),
        ecc=_text(node, "ecc_mode/current_ecc"),
        uncorrected=_uncorrected(node),
        remap_pending=_text(node, "remapped_rows/remapped_row_pending") == "Yes",
        remap_failed=_text(node, "remapped_rows/remapped_row_failure") == "Yes",
        throttled=_throttled(node),
        mig=_text(node, "mig_mode/current_mig") == "Enabled",
        persistent=_text(node, "persistence_mode") != "Disabled",
        recovery="" if recovery == "None" else recovery,
        fabric_state=_text(node, "fabric/state"),
        fabric_status=_text(node, "fabric/status"),
    )


def slot(text: str) -> str:
    """`00000000:17:00.0` or `PCI:0000:17:00` as the kernel's own name `0000:17:00.0`."""
    found = re.search(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})(?:\.([0-9a-f]))?", text.lower())
    return f"{found[1][-4:]}:{found[2]}:{found[3]}.{found[4] or '0'}" if found else text


def _throttled(node: ET.Element) -> tuple[str, ...]:
    active = set()
    for parent in ("clocks_event_reasons", "clocks_throttle_reasons"):
        for reason in node.findall(f"{parent}/*"):
            if (reason.text or "").strip() == "Active":
                active.add(re.sub(r"^clocks_(event|throttle)_reason_", "", reason.tag))
    return tuple(words for name, words in _FAULTS.items() if name in active)


def _uncorrected(node: ET.Element) -> int:
    """Errors since the driver was loaded that ECC could not mend."""
    counters = node.findall("ecc_errors/volatile/*")
    return sum(_count(each.text) for each in counters if "uncorrectable" in each.tag)


def _text(node: ET.Element, path: str) -> str:
    text = (node.findtext(path) or "").strip()
    return "" if text in ("N/A", "[N/A]") else text


def _count(text: str | None) -> int:
    return int(text) if text and text.strip().isdigit() else 0


def _mib(text: str) -> int:
    return _count(text.split(maxsplit=1)[0]) * MIB if text else 0
