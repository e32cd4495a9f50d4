"""What a host says of its GPUs and its driver, read without failing."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostplan import State, from_lines, from_sysfs
from roles.gpu_driver.library import gpu_driver_state as state
from tests.support import gpu_hosts

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  Tue Sep 23"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.261.03  Mon Jun 30 20:01:01 UTC 2025"


def _plant(root: Path, lines: list[str]) -> None:
    for device in from_lines(lines):
        folder = root / device.slot
        folder.mkdir(parents=True)
        sub = device.subsystem.split(":")
        values = {"class": f"{device.kind}00", "vendor": device.vendor, "device": device.device}
        for name, value in (values | {"subsystem_vendor": sub[0], "subsystem_device": sub[1]}).items():
            (folder / name).write_text(f"0x{value}\n")


@pytest.mark.parametrize("name", gpu_hosts.NAMES)
def test_tree_of_each_recorded_host_reads_as_it_was_recorded(name: str, tmp_path: Path) -> None:
    """What the module reads from sysfs is what the plan was tested with."""
    lines = gpu_hosts.variables(name)["gpu_driver_recorded"]["pci"]
    _plant(tmp_path, lines)
    assert state.pci(tmp_path) == sorted(lines)
    assert from_lines(state.pci(tmp_path)) == from_sysfs(tmp_path)


def test_bus_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """A container, or a machine without PCI."""
    assert state.pci(tmp_path / "none") == []


@pytest.mark.parametrize(("text", "version"), [(OPEN, "580.95.05"), (CLOSED, "535.261.03"), ("", ""), ("NVRM", "")])
def test_version_of_the_loaded_module_is_read(text: str, version: str) -> None:
    """Both builds write it their own way."""
    assert state.module_version(text) == version


@pytest.mark.parametrize(("last", "on"), [(b"\x01", True), (b"\x00", False), (b"", False)])
def test_secure_boot_is_the_last_byte_of_the_firmwares_variable(tmp_path: Path, last: bytes, on: bool) -> None:
    """Attributes come first; a machine without EFI has no such file."""
    path = tmp_path / state.SECURE_BOOT
    assert state.secure_boot(tmp_path) is False
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x06\x00\x00\x00" + last)
    assert state.secure_boot(tmp_path) is on


def test_dgx_is_known_by_its_release_file(tmp_path: Path) -> None:
    """Its vendor keeps the driver."""
    (tmp_path / "etc").mkdir()
    assert state.vendor_system(tmp_path) == ""
    (tmp_path / "etc/dgx-release").write_text('DGX_NAME="DGX Server"\nDGX_SWBUILD_VERSION="6.3.1"\n')
    assert state.vendor_system(tmp_path) == "DGX OS 6.3.1"
    (tmp_path / "etc/dgx-release").write_text("")
    assert state.vendor_system(tmp_path) == ""


def test_sources_that_name_nvidias_repository_are_found_and_comments_are_not(tmp_path: Path) -> None:
    """The container tools come from elsewhere and are no conflict."""
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    (folder / "cuda.list").write_text(f"deb [signed-by=/x.gpg] https://{state.REPOSITORY}/repos/debian12/x86_64/ /\n")
    (folder / "old.list").write_text(f"# deb https://{state.REPOSITORY}/repos/debian12/x86_64/ /\n")
    (folder / "toolkit.list").write_text("deb https://nvidia.github.io/libnvidia-container/stable/deb/amd64 /\n")
    assert list(state.sources(tmp_path)) == ["/etc/apt/sources.list.d/cuda.list"]


def test_packages_of_drivers_and_kernels_are_kept_and_no_others() -> None:
    """A line without a version is a package dpkg only heard of."""
    listing = "bash 5.2 installed\nnvidia-smi 535.1-1 installed\nlinux-image-6.1 6.1 installed\nlibcuda1  not-installed"
    assert state.packages(listing) == ["nvidia-smi 535.1-1 installed", "linux-image-6.1 6.1 installed"]


def test_free_space_is_asked_where_packages_and_kernels_go(tmp_path: Path) -> None:
    """A system without /boot has none to fill."""
    (tmp_path / "usr").mkdir()
    assert list(state.free(tmp_path)) == ["/usr"]
    assert state.free(tmp_path)["/usr"] > 0


def test_program_that_is_not_there_is_silence_not_failure() -> None:
    """A fresh host has no docker to ask."""
    assert state.ask("no-such-program-here") == ""


def test_every_answer_of_the_module_is_one_the_plan_takes(tmp_path: Path) -> None:
    """Module and plan agree on names."""
    said = state.state(tmp_path, tmp_path / "pci", "name=^none$", tmp_path / "held")
    facts = {"distribution": "Debian", "distribution_version": "12.12", "kernel": "6.1", "architecture": "x86_64"}
    seen = State.of(said, facts)
    assert (seen.devices, seen.loaded, seen.vendor_system) == ((), "", "")
