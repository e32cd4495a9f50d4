"""GPUs are known by their PCI ids, before anything is touched."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostplan import detect, from_lines, from_sysfs
from hostplan.generations import BLOCKS, BOARDS, Fabric, Generation, Modules, generation


def _host(*devices: str) -> tuple[str, ...]:
    return tuple(f"0000:{index:02x}:00.0 {device}" for index, device in enumerate(devices))


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("13f2", "maxwell"),
        ("1b38", "pascal"),
        ("1db4", "volta"),
        ("1eb8", "turing"),
        ("20b2", "ampere"),
        ("2236", "ampere"),
        ("2684", "ada"),
        ("27b8", "ada"),
        ("2330", "hopper"),
        ("2335", "hopper"),
        ("2901", "blackwell"),
        ("2941", "blackwell"),
        ("2bb1", "blackwell"),
        ("3182", "blackwell"),
    ],
)
def test_generation_follows_from_the_device_id(device: str, expected: str) -> None:
    """Data centre, workstation and desktop boards alike."""
    assert generation(device) == expected


def test_blocks_are_ordered_and_do_not_overlap() -> None:
    """An id is in one generation or in none."""
    assert all(first <= last for first, last, _ in BLOCKS)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(BLOCKS))


def test_every_board_that_is_named_has_a_generation() -> None:
    """A name without a driver would be no help."""
    assert not [device for device in BOARDS if generation(device) is None]


def test_kepler_and_older_are_unknown() -> None:
    """No driver branch that serves an engine carries them."""
    assert generation("102d") is None


def test_host_without_gpus_has_no_hardware() -> None:
    """An Intel screen, an NVIDIA sound function and a network card are no GPUs."""
    hardware = detect(from_lines(_host("0300 8086:9a49", "0403 10de:22ba 10de:16c1", "0200 15b3:1021")))
    assert (hardware.gpus, hardware.fabric, hardware.modules, hardware.summary) == ((), Fabric.NONE, (), "none")


def test_nvswitches_make_a_fabric_only_with_gpus() -> None:
    """HGX boards of A100 and H100 show their switches as bridges; SXM boards without switches need no manager."""
    assert detect(from_lines(_host(*["0302 10de:20b2"] * 4))).fabric is Fabric.NONE
    assert detect(from_lines(_host("0302 10de:20b2", "0680 10de:1af1"))).fabric is Fabric.NVSWITCH
    assert detect(from_lines(_host("0680 10de:22a3"))).fabric is Fabric.NONE


def test_switches_of_blackwell_are_known_by_the_boards_on_them() -> None:
    """They do not show as NVIDIA devices; on a rack-scale host they are not in the host at all."""
    assert detect(from_lines(_host("0302 10de:2901"))).fabric is Fabric.NVLINK5
    assert detect(from_lines(_host("0302 10de:2941"))).fabric is Fabric.IMEX
    assert detect(from_lines(_host("0302 10de:2bb1"))).fabric is Fabric.NONE


def test_fabric_can_be_said() -> None:
    """A guest that got one board of eight has no switches to manage."""
    assert detect(from_lines(_host("0302 10de:2901")), fabric="none").fabric is Fabric.NONE


def test_unknown_gpu_is_named_and_can_be_said() -> None:
    """A chip newer than the table is refused until somebody says what it is."""
    lines = _host("0302 10de:3fff")
    assert [gpu.id for gpu in detect(from_lines(lines)).unknown] == ["10de:3fff"]
    assert detect(from_lines(lines), {"3fff": "blackwell"}).unknown == ()
    assert detect(from_lines(lines), {"10de:3fff": "blackwell"}).modules == (Modules.OPEN,)
    with pytest.raises(ValueError, match="rubin"):
        detect(from_lines(lines), {"3fff": "rubin"})


def test_modules_must_drive_every_gpu_of_the_host() -> None:
    """Pascal beside Ampere has one build in common, Volta beside Blackwell none."""
    assert detect(from_lines(_host("0300 10de:1b38", "0302 10de:20b5"))).modules == (Modules.PROPRIETARY,)
    assert detect(from_lines(_host("0302 10de:1db4", "0302 10de:2901"))).modules == ()
    assert detect(from_lines(_host("0302 10de:2342"))).modules == (Modules.OPEN,)


def test_summary_counts_boards() -> None:
    """What the plan prints."""
    assert detect(from_lines(_host(*["0302 10de:2330"] * 8))).summary == "8 x H100 SXM5 80GB"


@given(st.integers(0, 0xFFFF).map(lambda number: f"{number:04x}"))
def test_any_device_id_is_decided_without_failing(device: str) -> None:
    """Known or not, never an exception."""
    hardware = detect(from_lines(_host(f"0302 10de:{device}")))
    assert bool(hardware.unknown) == (generation(device) is None)


_ID = st.from_regex(r"[0-9a-f]{4}", fullmatch=True)


@given(st.lists(st.tuples(_ID, _ID, _ID, st.none() | st.tuples(_ID, _ID)), max_size=6))
def test_tree_and_lines_say_the_same(tmp_path_factory: pytest.TempPathFactory, devices: list[tuple[str, ...]]) -> None:
    """A recorded line is what the tree in sysfs held."""
    root = tmp_path_factory.mktemp("pci")
    lines = []
    for index, (kind, vendor, device, sub) in enumerate(devices):
        slot = f"0000:{index:02x}:00.0"
        plant(root, slot, (kind, vendor, device), sub)
        lines.append(f"{slot} {kind} {vendor}:{device}" + (f" {sub[0]}:{sub[1]}" if sub else ""))
    assert from_sysfs(root) == from_lines(lines)
    assert [device.line for device in from_lines(lines)] == lines


def plant(root: Path, slot: str, ids: tuple[str, str, str], sub: object = None) -> None:
    """One device as the kernel shows it; `ids` are class, vendor and device."""
    kind, vendor, device = ids
    values = {"class": f"{kind}00", "vendor": vendor, "device": device}
    if isinstance(sub, tuple):
        values |= {"subsystem_vendor": sub[0], "subsystem_device": sub[1]}
    (root / slot).mkdir()
    for name, value in values.items():
        (root / slot / name).write_text(f"0x{value}\n")


def test_bus_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """A container or a machine without PCI."""
    assert from_sysfs(tmp_path / "none") == ()


def test_line_that_is_no_device_is_named() -> None:
    """A fixture with a typing mistake must not become a host without GPUs."""
    with pytest.raises(ValueError, match="0302 10de"):
        from_lines(["0302 10de:20b2"])


@pytest.mark.parametrize("name", list(Generation))
def test_every_generation_has_a_build(name: Generation) -> None:
    """Proprietary alone before Turing, open alone for Blackwell."""
    device = next(first for first, _, known in BLOCKS if known is name)
    modules = detect(from_lines(_host(f"0302 10de:{device:04x}"))).modules
    expected = {"maxwell": "proprietary", "pascal": "proprietary", "volta": "proprietary"}.get(name, "open")
    assert modules[0] == expected
