"""What is staged for hosts with GPUs: what the roles would install, from where, pinned as they pin it."""

from __future__ import annotations

from typing import Any

from bundle import gpus, platforms
from tests.unit.bundle.test_stage import MIRRORS

TOOLKIT = {
    "container_toolkit_version": "1.18.2-1",
    "container_toolkit_package_source": "upstream",
    "container_toolkit_repository_url": "https://nvidia.example/deb/$arch",
    "container_toolkit_repository_key_url": "https://nvidia.example/key",
}
HOSTS = {"debian-12-amd64": ["edge", "gpu"], "ubuntu-24.04-arm64": ["other"]}


def _asked(**variables: Any) -> dict[str, dict[str, Any]]:
    hostvars: dict[str, dict[str, Any]] = {"edge": {}, "gpu": {"stack_gpus": 8, **variables}, "other": {}}
    return gpus.asked(hostvars, HOSTS, TOOLKIT)


def test_platforms_without_gpus_get_nothing_of_it() -> None:
    """Edges and observers install no driver."""
    assert set(_asked()) == {"debian-12-amd64"}


def test_driver_of_the_branch_toolkit_and_headers_are_staged() -> None:
    """With Fabric Manager, since nobody knows there what joins the GPUs; headers follow the newest kernel."""
    found = gpus.packages("debian-12-amd64", _asked()["debian-12-amd64"])
    assert {
        "nvidia-kernel-open-dkms",
        "nvidia-fabricmanager",
        "linux-headers-amd64",
        "nvidia-container-toolkit",
    } <= set(found)


def test_inventory_says_what_it_knows_better() -> None:
    """Kernel, modules and fabric of the hosts."""
    asked = _asked(bundle_kernel="6.1.0-40-amd64", gpu_driver_kernel_modules="proprietary", gpu_driver_fabric="none")
    found = gpus.packages("debian-12-amd64", asked["debian-12-amd64"])
    assert "nvidia-kernel-dkms" in found
    assert "linux-headers-6.1.0-40-amd64" in found
    assert not [name for name in found if "fabric" in name]


def test_sources_and_pins_are_those_of_the_roles() -> None:
    """NVIDIA's two repositories with their keys; one release of driver and toolkit."""
    asked = _asked(gpu_driver_version="580")
    found = platforms.platforms({"debian-12-amd64": ["gpu"]}, {}, "", MIRRORS, with_gpus=asked)[0]
    assert [source.uris for source in found.sources][-2:] == [
        "https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64",
        "https://nvidia.example/deb/amd64",
    ]
    assert all(source.key for source in found.sources)
    assert "Pin: version 580" in found.preferences
    assert "Pin: version 1.18.2-1" in found.preferences


def test_hosts_that_have_their_driver_get_none() -> None:
    """`present` changes nothing on a host, and needs nothing of a bundle."""
    asked = _asked(gpu_driver_package_source="present", container_toolkit_package_source="present")["debian-12-amd64"]
    assert gpus.packages("debian-12-amd64", asked) == []
    assert gpus.sources("debian-12-amd64", asked) == []
