"""What hosts with GPUs get besides: driver, what joins GPUs, headers of the kernel, container toolkit.

Which GPUs a host has is not known where there is a network: drivers are taken with open kernel modules, and with what
switches between GPUs need, unless the inventory says otherwise. What is not needed is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bundle.request import Source
from hostplan import apt, toolkit
from hostplan.generations import Fabric, Modules
from hostplan.intent import Intent
from hostplan.packages import choose
from hostplan.platforms import Platform
from hostplan.versions import Version

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_DRIVER, _TOOLKIT = "gpu_driver_", "container_toolkit_"


def asked(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: Mapping[str, Sequence[str]], toolkit_defaults: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Kernels, driver and toolkit by platform, for platforms with GPUs; the first such host speaks for the others."""
    found: dict[str, dict[str, Any]] = {}
    for platform, names in hosts.items():
        with_gpus = [name for name in names if int(hostvars[name].get("stack_gpus") or 0)]
        if with_gpus:
            first = hostvars[with_gpus[0]]
            kernels = {str(hostvars[name].get("bundle_kernel") or "") for name in with_gpus}
            found[platform] = {
                "kernels": sorted(kernels),
                "driver": _said(first, _DRIVER),
                "toolkit": _said(toolkit_defaults, _TOOLKIT) | _said(first, _TOOLKIT),
            }
    return found


def packages(platform: str, wanted: Mapping[str, Any]) -> list[str]:
    """Names for one platform, for each kernel that its hosts run."""
    intent = _intent(wanted)
    found = [] if wanted["toolkit"].get("package_source") == "present" else list(toolkit.PACKAGES)
    if intent.package_source == "present":
        return found
    modules = Modules.OPEN if intent.kernel_modules == "auto" else Modules(intent.kernel_modules)
    fabric = Fabric.NVSWITCH if intent.fabric == "auto" else Fabric(intent.fabric)
    for kernel in wanted["kernels"]:
        chosen = choose(_platform(platform, kernel), intent.package_source, Version.of(intent.version), modules, fabric)
        found += chosen.all
    return found


def sources(platform: str, wanted: Mapping[str, Any]) -> list[Source]:
    """NVIDIA's two repositories, or mirrors of them; the distribution's own packages need no other source."""
    intent, system = _intent(wanted), _platform(platform)
    found = []
    if intent.package_source == "upstream":
        url = f"{intent.upstream_url}/{system.repository}"
        found.append(Source(uris=url, suites="/", key=apt.key_url(system, intent)))
    if intent.package_source == "mirror":
        components = " ".join(intent.mirror_components)
        found.append(
            Source(uris=intent.mirror_url, suites=intent.mirror_suite, components=components, key=intent.mirror_keyring)
        )
    mine = wanted["toolkit"]
    if mine.get("package_source") in {"upstream", "mirror"}:
        url = str(mine["repository_url"]).replace("$arch", system.architecture)
        found.append(Source(uris=url, suites="/", key=str(mine["repository_key_url"])))
    return found


def preferences(platform: str, wanted: Mapping[str, Any]) -> str:
    """apt's pins as the roles write them: the release of driver and toolkit that the inventory names."""
    intent, version = _intent(wanted), wanted["toolkit"].get("version")
    own = apt.preferences(_platform(platform), intent) if intent.package_source != "present" else ""
    return "\n".join(text for text in (own, toolkit.preferences(str(version)) if version else "") if text)


def _platform(platform: str, kernel: str = "") -> Platform:
    """Without a kernel its package that follows the newest one."""
    system, version, architecture = platform.split("-")
    newest = architecture if system == "debian" else "generic"
    return Platform(system.capitalize(), version, kernel or newest, _MACHINES[architecture])


def _intent(wanted: Mapping[str, Any]) -> Intent:
    """What the inventory says of the driver. Whether a host has one of its own is not known: it is staged."""
    intent = Intent.of(wanted["driver"])
    return replace(intent, package_source="upstream") if intent.package_source == "auto" else intent


def _said(variables: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): variables[name] for name in variables if name.startswith(prefix)}
