"""The GPUs of a host and what joins them, from its PCI devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hostplan import pci
from hostplan.generations import BOARDS, NVSWITCHES, RULES, Board, Fabric, Generation, Modules, generation


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; `generation` is None when its id is not known and nobody said."""

    slot: str
    device: str
    generation: Generation | None
    board: Board

    @property
    def id(self) -> str:
        """`10de:` and the device id."""
        return f"{pci.NVIDIA}:{self.device}"

    @property
    def modules(self) -> tuple[Modules, ...]:
        """Builds of the kernel modules that drive it, the preferred one first."""
        return self.board.modules or (RULES[self.generation].modules if self.generation else ())

    @property
    def first_branch(self) -> int:
        """Oldest driver branch that carries it."""
        return max(self.board.first_branch, RULES[self.generation].first_branch if self.generation else 0)

    @property
    def last_branch(self) -> int:
        """Newest driver branch that carries it; 0: no end known."""
        return RULES[self.generation].last_branch if self.generation else 0


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a host has; the falsy `gpus` of a host without any means that nothing is to be done."""

    gpus: tuple[Gpu, ...]
    nvswitches: int
    fabric: Fabric

    @property
    def unknown(self) -> tuple[Gpu, ...]:
        """GPUs whose generation nobody knows."""
        return tuple(gpu for gpu in self.gpus if gpu.generation is None)

    @property
    def modules(self) -> tuple[Modules, ...]:
        """Builds that drive every GPU of the host, the preferred one first; empty: no single build does."""
        if not self.gpus:
            return ()
        return tuple(build for build in Modules if all(build in gpu.modules for gpu in self.gpus))

    @property
    def summary(self) -> str:
        """`8 x H100 SXM5 80GB`, or `none`."""
        names = Counter(gpu.board.name for gpu in self.gpus)
        return " + ".join(f"{count} x {name}" for name, count in names.items()) or "none"


def detect(devices: Iterable[pci.PciDevice], said: Mapping[str, str] | None = None, fabric: str = "auto") -> Hardware:
    """GPUs, NVSwitches and fabric of a host.

    `said` maps device ids to generations and wins over the table; raises ValueError for a generation that is none.
    `fabric` other than `auto` is taken as given. Audio and USB functions of a GPU are no GPUs.
    """
    found = tuple(device for device in devices if device.vendor == pci.NVIDIA)
    gpus = tuple(_gpu(device, said or {}) for device in found if device.kind.startswith(pci.DISPLAY))
    switches = sum(device.kind == pci.BRIDGE and device.device in NVSWITCHES for device in found)
    return Hardware(gpus, switches, _fabric(gpus, switches) if fabric == "auto" else Fabric(fabric))


def _gpu(device: pci.PciDevice, said: Mapping[str, str]) -> Gpu:
    name = said.get(device.device) or said.get(device.id)
    known = Generation(name) if name else generation(device.device)
    words = f"{known.capitalize()} GPU {device.id}" if known else f"unknown GPU {device.id}"
    return Gpu(device.slot, device.device, known, BOARDS.get(device.device, Board(words)))


def _fabric(gpus: tuple[Gpu, ...], switches: int) -> Fabric:
    if not gpus:
        return Fabric.NONE
    boards = {gpu.board.fabric for gpu in gpus}
    if Fabric.IMEX in boards:
        return Fabric.IMEX
    # Switches of the fourth generation do not show as NVIDIA devices; the boards that sit on them tell.
    if Fabric.NVLINK5 in boards:
        return Fabric.NVLINK5
    return Fabric.NVSWITCH if switches else Fabric.NONE
