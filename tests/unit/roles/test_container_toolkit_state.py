"""What a host has of GPUs and of the toolkit: read from the kernel's list and dpkg's, never assumed."""

from __future__ import annotations

from pathlib import Path

from roles.container_toolkit.library import container_toolkit_state as state


def _device(pci: Path, address: str, vendor: str, kind: str) -> None:
    (pci / address).mkdir(parents=True)
    (pci / address / "vendor").write_text(vendor + "\n")
    (pci / address / "class").write_text(kind + "\n")


def test_only_nvidias_display_devices_are_gpus(tmp_path: Path) -> None:
    """Audio functions, NVSwitches and other vendors' cards are not; a host without a PCI bus has none."""
    _device(tmp_path, "0000:01:00.0", "0x10de", "0x030200")
    _device(tmp_path, "0000:01:00.1", "0x10de", "0x040300")
    _device(tmp_path, "0000:02:00.0", "0x10de", "0x068000")
    _device(tmp_path, "0000:03:00.0", "0x1002", "0x030000")
    assert state.gpus(tmp_path) == ["0000:01:00.0"]
    assert state.gpus(tmp_path / "none") == []


def test_half_installed_packages_are_told_from_whole_ones() -> None:
    """Only the toolkit's packages count; one that was removed with its settings left is neither."""
    listed = (
        "libnvidia-container1\tinstalled\t1.18.2-1\nnvidia-container-toolkit\thalf-configured\t1.18.2-1\n"
        "nvidia-container-toolkit-base\tconfig-files\t1.17.0-1\nbash\tinstalled\t5.2\n"
    )
    assert state.packages(listed) == (
        {"libnvidia-container1": "1.18.2-1"},
        {"nvidia-container-toolkit": "half-configured"},
    )


def test_specification_names_the_driver_it_was_written_for() -> None:
    """By the library every one of them has."""
    assert state.spec_driver("- hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05\n") == "580.95.05"
    assert state.spec_driver("- hostPath: /usr/lib/libcuda.so.1\n") == ""
    assert state.spec_driver("") == ""
