"""Names of driver packages: by source, system, branch, build of the modules and fabric.

Sources: NVIDIA's driver installation and Fabric Manager guides; the package lists of Debian and Ubuntu.
"""

from __future__ import annotations

from dataclasses import dataclass

from hostplan.generations import Fabric, Modules
from hostplan.platforms import Platform
from hostplan.versions import Version

# NVIDIA took the branch out of these names in two steps.
_PLAIN_FABRIC = 580
_PLAIN_UBUNTU = 590
_NVLINK5 = ("nvlsm", "infiniband-diags", "libibumad3")
_HELPERS = ("nvidia-modprobe", "nvidia-persistenced", "nvidia-settings", "nvidia-xconfig")
DEBIAN_BRANCHES = {"Debian-12": 535, "Debian-13": 550}


@dataclass(frozen=True, slots=True)
class Packages:
    """What is installed: the driver and its tools, what the fabric needs, what building for the kernel needs."""

    driver: tuple[str, ...]
    fabric: tuple[str, ...]
    kernel: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Kernel first, as it is needed first."""
        return self.kernel + self.driver + self.fabric


def versioned(name: str, source: str) -> bool:
    """Whether a package carries the driver's version; distributions keep helpers at versions of their own."""
    return not (name in _NVLINK5 or name.startswith("linux-") or (source == "distro" and name in _HELPERS))


def choose(platform: Platform, source: str, version: Version, modules: Modules, fabric: Fabric) -> Packages:
    """Packages for a supported platform; `source` is upstream, mirror (NVIDIA's names) or distro."""
    if source == "distro" and platform.distribution == "Ubuntu":
        return _ubuntu_prebuilt(platform, version, modules, fabric)
    if source == "distro":
        return _debian_own(platform, modules)
    driver = _debian(modules) if platform.distribution == "Debian" else _ubuntu(version, modules)
    return Packages(driver, _fabric(platform, version, fabric), _headers(platform) + _extra(platform, fabric))


def _debian(modules: Modules) -> tuple[str, ...]:
    kernel = "nvidia-kernel-open-dkms" if modules is Modules.OPEN else "nvidia-kernel-dkms"
    return (kernel, "nvidia-driver-cuda", "nvidia-persistenced")


def _ubuntu(version: Version, modules: Modules) -> tuple[str, ...]:
    end = "-open" if modules is Modules.OPEN else ""
    if version.branch >= _PLAIN_UBUNTU:
        return (f"nvidia-headless{end}", "nvidia-persistenced")
    # nvidia-persistenced is in nvidia-compute-utils, which the first depends on.
    return (f"nvidia-headless-{version.branch}{end}", f"nvidia-utils-{version.branch}")


def _debian_own(platform: Platform, modules: Modules) -> Packages:
    kernel = "nvidia-open-kernel-dkms" if modules is Modules.OPEN else "nvidia-kernel-dkms"
    libraries = ("libcuda1", "libnvidia-ml1", "libnvidia-ptxjitcompiler1")
    return Packages((kernel, "nvidia-smi", *libraries, "nvidia-persistenced"), (), _headers(platform))


def _ubuntu_prebuilt(platform: Platform, version: Version, modules: Modules, fabric: Fabric) -> Packages:
    """Modules built and signed by the distribution for exactly the running kernel: no compiler, no other kernel."""
    name = f"{version.branch}-server{'-open' if modules is Modules.OPEN else ''}"
    driver = (f"nvidia-headless-no-dkms-{name}", f"nvidia-utils-{version.branch}-server")
    manager = (f"nvidia-fabricmanager-{version.branch}", f"libnvidia-nscq-{version.branch}")
    return Packages(
        driver, manager if fabric is Fabric.NVSWITCH else (), (f"linux-modules-nvidia-{name}-{platform.kernel}",)
    )


def _fabric(platform: Platform, version: Version, fabric: Fabric) -> tuple[str, ...]:
    end = "" if version.branch >= _PLAIN_FABRIC else f"-{version.branch}"
    manager = (f"nvidia-fabricmanager{end}", f"libnvidia-nscq{end}")
    # The library that asks switches of the fourth generation is built for one architecture alone.
    switches = (f"libnvsdm{end}",) if platform.architecture == "amd64" else ()
    return {
        Fabric.NONE: (),
        Fabric.NVSWITCH: manager,
        Fabric.NVLINK5: manager + switches + _NVLINK5,
        Fabric.IMEX: (f"nvidia-imex{end}",),
    }[fabric]


def _headers(platform: Platform) -> tuple[str, ...]:
    return (f"linux-headers-{platform.kernel}",)


def _extra(platform: Platform, fabric: Fabric) -> tuple[str, ...]:
    """Ubuntu keeps InfiniBand's user module apart from the kernel."""
    wanted = fabric is Fabric.NVLINK5 and platform.distribution == "Ubuntu"
    return (f"linux-modules-extra-{platform.kernel}",) if wanted else ()
