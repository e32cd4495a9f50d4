"""MIG: which GPUs are split into which instances, checked before anything is split.

Profiles are NVIDIA's names, `3g.40gb`: compute slices of seven, and memory. Whether a combination fits together
beyond the number of slices is only known to the GPU itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hostplan.generations import Generation
from hostplan.gpus import Gpu, Hardware

SLICES = 7
_PROFILE = re.compile(r"^([1-7])g\.\d+gb(\+[a-z.]+)*$")
# Boards of these chips split; every Hopper does.
_CAPABLE = {"20b0", "20b1", "20b2", "20b3", "20b5", "20b6", "20b7", "20f1", "20f3", "20f5", "20f6", "2901", "2941"}
_CAPABLE_BLACKWELL = {"2bb1", "2bb4", "2bb5", "2920", "29bc", "3182", "31c2"}


def capable(gpu: Gpu) -> bool:
    """Whether a GPU can be split."""
    return gpu.generation is Generation.HOPPER or gpu.device in _CAPABLE | _CAPABLE_BLACKWELL


def layout(said: Mapping[str, Any], count: int) -> dict[str, list[str]]:
    """GPU index → profiles, with `all` spelled out; a GPU's own entry wins. An empty list means: not split."""
    everywhere = list(said["all"]) if "all" in said else None
    spread = {str(index): everywhere for index in range(count)} if everywhere is not None else {}
    return {**spread, **{str(index): list(profiles) for index, profiles in said.items() if str(index) != "all"}}


def problems(said: Mapping[str, Any], hardware: Hardware) -> Iterator[str]:
    """Everything wrong with a layout for this host, in the house's words."""
    for index, profiles in layout(said, len(hardware.gpus)).items():
        place = f"gpu_driver_mig_layout.{index}"
        if not index.isdecimal() or int(index) >= len(hardware.gpus):
            yield f"{place}: the host has {len(hardware.gpus)} GPUs: `all` or 0 to {len(hardware.gpus) - 1}; correct it"
        elif profiles and not capable(hardware.gpus[int(index)]):
            yield f"{place}: {hardware.gpus[int(index)].board.name} cannot be split: leave it out"
        yield from _wrong(place, profiles)


def _wrong(place: str, profiles: list[str]) -> Iterator[str]:
    bad = [profile for profile in profiles if not _PROFILE.match(str(profile))]
    if bad:
        yield f"{place}: {', '.join(map(str, bad))}: profiles read like 3g.40gb; see `nvidia-smi mig -lgip`"
        return
    total = sum(int(profile[0]) for profile in profiles)
    if total > SLICES:
        yield f"{place}: {total} compute slices: a GPU has {SLICES}; take instances out"
