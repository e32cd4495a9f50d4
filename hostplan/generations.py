"""GPU generations by PCI device id, and what each allows of a driver.

The ids of one chip are allotted in blocks; the blocks are those of the public PCI id database. First branches are those
whose release notes begin to list a chip, last branches those that still carry it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Generation(StrEnum):
    """Architectures, oldest first."""

    MAXWELL = "maxwell"
    PASCAL = "pascal"
    VOLTA = "volta"
    TURING = "turing"
    AMPERE = "ampere"
    ADA = "ada"
    HOPPER = "hopper"
    BLACKWELL = "blackwell"


class Modules(StrEnum):
    """The two builds of the kernel modules."""

    OPEN = "open"
    PROPRIETARY = "proprietary"


class Fabric(StrEnum):
    """What joins the GPUs of a host, as far as it needs software."""

    NONE = "none"
    NVSWITCH = "nvswitch"  # Fabric Manager
    NVLINK5 = "nvlink5"  # Fabric Manager, the subnet manager and InfiniBand's user module
    IMEX = "imex"  # rack scale: Fabric Manager runs on the switch trays, the host needs IMEX


@dataclass(frozen=True, slots=True)
class Rule:
    """Builds a generation runs with, and the driver branches that carry it (0: no end known)."""

    modules: tuple[Modules, ...]
    first_branch: int
    last_branch: int = 0


_BOTH = (Modules.OPEN, Modules.PROPRIETARY)
RULES: dict[Generation, Rule] = {
    Generation.MAXWELL: Rule((Modules.PROPRIETARY,), 470, 580),
    Generation.PASCAL: Rule((Modules.PROPRIETARY,), 470, 580),
    Generation.VOLTA: Rule((Modules.PROPRIETARY,), 470, 580),
    Generation.TURING: Rule(_BOTH, 515),
    Generation.AMPERE: Rule(_BOTH, 515),
    Generation.ADA: Rule(_BOTH, 525),
    Generation.HOPPER: Rule(_BOTH, 535),
    Generation.BLACKWELL: Rule((Modules.OPEN,), 570),
}

# First and last device id of each block.
BLOCKS: tuple[tuple[int, int, Generation], ...] = (
    (0x1340, 0x1436, Generation.MAXWELL),
    (0x15C2, 0x15FF, Generation.PASCAL),
    (0x1617, 0x1667, Generation.MAXWELL),
    (0x1725, 0x172F, Generation.PASCAL),
    (0x174D, 0x17FD, Generation.MAXWELL),
    (0x1B00, 0x1D56, Generation.PASCAL),
    (0x1D81, 0x1DF6, Generation.VOLTA),
    (0x1E02, 0x1FFF, Generation.TURING),
    (0x2080, 0x20FF, Generation.AMPERE),
    (0x2182, 0x21D1, Generation.TURING),
    (0x2200, 0x223F, Generation.AMPERE),
    (0x2302, 0x23FF, Generation.HOPPER),
    (0x2414, 0x25FF, Generation.AMPERE),
    (0x2681, 0x28FF, Generation.ADA),
    (0x2900, 0x2FFF, Generation.BLACKWELL),
    (0x3180, 0x31FF, Generation.BLACKWELL),
)


@dataclass(frozen=True, slots=True)
class Board:
    """What an id alone says beyond its generation."""

    name: str
    fabric: Fabric = Fabric.NONE
    modules: tuple[Modules, ...] = ()  # narrower than the generation's, when not empty
    first_branch: int = 0  # later than the generation's, when not 0
    memory_gib: int = 0


_OPEN = (Modules.OPEN,)
BOARDS: dict[str, Board] = {
    "1db4": Board("Tesla V100 PCIe 16GB", memory_gib=16),
    "1db5": Board("Tesla V100 SXM2 32GB", memory_gib=32),
    "1eb8": Board("Tesla T4", memory_gib=16),
    "20b0": Board("A100 SXM4 40GB", memory_gib=40),
    "20b2": Board("A100 SXM4 80GB", memory_gib=80),
    "20b5": Board("A100 PCIe 80GB", memory_gib=80),
    "20f1": Board("A100 PCIe 40GB", memory_gib=40),
    "20b7": Board("A30", memory_gib=24),
    "2204": Board("GeForce RTX 3090", memory_gib=24),
    "2230": Board("RTX A6000", memory_gib=48),
    "2235": Board("A40", memory_gib=48),
    "2236": Board("A10", memory_gib=24),
    "2321": Board("H100 NVL 94GB", memory_gib=94),
    "2329": Board("H20 96GB", memory_gib=96),
    "2330": Board("H100 SXM5 80GB", memory_gib=80),
    "2331": Board("H100 PCIe 80GB", memory_gib=80),
    "2335": Board("H200 SXM 141GB", first_branch=550, memory_gib=141),
    "233b": Board("H200 NVL 141GB", first_branch=565, memory_gib=141),
    "2342": Board("GH200 96GB", modules=_OPEN, memory_gib=96),
    "2348": Board("GH200 144GB", modules=_OPEN, first_branch=550, memory_gib=144),
    "2684": Board("GeForce RTX 4090", memory_gib=24),
    "26b1": Board("RTX 6000 Ada", memory_gib=48),
    "26b5": Board("L40", memory_gib=48),
    "26b9": Board("L40S", memory_gib=48),
    "27b8": Board("L4", memory_gib=24),
    "2901": Board("B200 SXM", Fabric.NVLINK5, memory_gib=180),
    "2920": Board("B100 SXM", Fabric.NVLINK5),
    "29bc": Board("B100 SXM", Fabric.NVLINK5),
    "2941": Board("GB200", Fabric.IMEX, memory_gib=186),
    "2b85": Board("GeForce RTX 5090", memory_gib=32),
    "2bb1": Board("RTX PRO 6000 Blackwell Workstation", memory_gib=96),
    "2bb4": Board("RTX PRO 6000 Blackwell Max-Q", memory_gib=96),
    "2bb5": Board("RTX PRO 6000 Blackwell Server", memory_gib=96),
    "3182": Board("B300 SXM", Fabric.NVLINK5, first_branch=580, memory_gib=288),
    "31c2": Board("GB300", Fabric.IMEX, first_branch=580, memory_gib=288),
}

NVSWITCHES = {"1ac1", "1ac2", "1af1", "22a3"}


def generation(device: str) -> Generation | None:
    """Generation of a device id, None when no block holds it."""
    number = int(device, 16)
    return next((name for first, last, name in BLOCKS if first <= number <= last), None)
