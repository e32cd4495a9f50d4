"""A host's GPUs by their PCI ids, for what must be judged before a driver is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostplan.gpus import Gpu, detect
from hostplan.pci import PciDevice


def of(facts: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """In the order of the bus, which is that of the driver's indices."""
    found = sorted(facts["pci"]["gpus"], key=lambda each: str(each["slot"]))
    return detect(PciDevice(each["slot"], "0302", "10de", each["device"].removeprefix("0x")) for each in found).gpus
