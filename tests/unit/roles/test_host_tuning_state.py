"""What a kernel says of itself: read from its files, from a tree of a test's own here."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from roles.host_tuning.library import host_tuning_state as state


def _write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _config(*capabilities: tuple[int, int]) -> bytes:
    """A configuration space with these extended capabilities and their control words."""
    space = bytearray(4096)
    for index, (number, control) in enumerate(capabilities):
        at, following = 0x100 + 16 * index, 0x110 + 16 * index if index + 1 < len(capabilities) else 0
        space[at : at + 8] = struct.pack("<IHH", number | 1 << 16 | following << 20, 0x1F, control)
    return bytes(space)


@pytest.mark.parametrize(
    ("config", "redirects"),
    [
        (_config((0x0001, 0xFFFF), (0x000D, 0x001D)), True),
        (_config((0x000D, 0x0000)), False),
        (_config((0x000D, 0x0001)), False),
        (_config((0x0001, 0xFFFF)), False),
        (b"\0" * 64, False),
        (b"", False),
    ],
)
def test_acs_is_found_in_a_bridges_own_words(config: bytes, redirects: bool) -> None:
    """Only bits that send traffic between devices through the root count; a short or unreadable space says nothing."""
    assert state.acs_redirects(config) is redirects


def test_server_is_described_by_its_files(tmp_path: Path) -> None:
    """Settings, hugepages, governors, NUMA nodes, GPUs and the bridge above them."""
    _write(tmp_path, "proc/sys/vm/swappiness", "60\n")
    _write(tmp_path, "proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n")
    _write(tmp_path, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    cpufreq = "sys/devices/system/cpu/cpu0/cpufreq/"
    _write(tmp_path, cpufreq + "scaling_governor", "powersave\n")
    _write(tmp_path, cpufreq + "scaling_available_governors", "performance powersave\n")
    _write(tmp_path, "sys/devices/system/node/node0/cpulist", "0-31\n")
    _write(tmp_path, "sys/kernel/iommu_groups/7/type", "DMA-FQ\n")
    gpu, bridge = "sys/bus/pci/devices/0000:41:00.0/", "sys/bus/pci/devices/0000:40:01.0/"
    for name, value in (("vendor", "0x10de"), ("class", "0x030200"), ("numa_node", "1")):
        _write(tmp_path, gpu + name, value + "\n")
    for name, value in (("vendor", "0x8086"), ("class", "0x060400")):
        _write(tmp_path, bridge + name, value + "\n")
    (tmp_path / bridge / "config").write_bytes(_config((0x000D, 0x001D)))
    found = state.state(tmp_path)
    assert found["sysctl"] == {"vm.swappiness": "60", "net.ipv4.tcp_rmem": "4096\t131072\t6291456"}
    assert {"vm.swappiness", "/sys/kernel/mm/transparent_hugepage/enabled"} <= set(found["writable"])
    assert (found["thp"], found["governors"], found["governors_known"]) == (
        "madvise",
        ["powersave"],
        ["performance", "powersave"],
    )
    assert found["gpus"] == [{"address": "0000:41:00.0", "node": 1}]
    assert (found["acs"], found["iommu"], found["nodes"]) == (["0000:40:01.0"], "translating", {"0": "0-31"})


def test_kernel_without_any_of_it_is_no_failure(tmp_path: Path) -> None:
    """Empty answers, as in a container that hides everything."""
    found = state.state(tmp_path)
    assert (found["sysctl"], found["thp"], found["gpus"], found["iommu"]) == ({}, "", [], "")
