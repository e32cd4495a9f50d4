"""Which packages a host of a release gets, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bundle import gpus
from bundle.manifest import BundleError
from bundle.needs import packages
from bundle.request import Platform, Source

# Whatever the host does: what Ansible needs, the firewall, certificate authorities, a clock that is right.
BASE = ("ca-certificates", "chrony", "iptables", "nftables", "python3", "python3-apt")
# What scripts/bootstrap needs where the controlling machine has no network either.
CONTROLLER = ("ca-certificates", "curl", "git", "openssh-client", "openssl", "python3", "python3-venv", "tar")
DOCKER = {
    "debian-12": ("docker.io", "docker-compose=2.*"),
    "debian-13": ("docker.io", "docker-cli", "docker-compose"),
    "ubuntu-22.04": ("docker.io", "docker-compose-v2"),
    "ubuntu-24.04": ("docker.io", "docker-compose-v2"),
}
_SUITES = {"debian-12": "bookworm", "debian-13": "trixie", "ubuntu-22.04": "jammy", "ubuntu-24.04": "noble"}
_KEYS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}
_COMPONENTS = {"debian": "main contrib non-free non-free-firmware", "ubuntu": "main restricted universe multiverse"}


def wanted(
    hosts: Mapping[str, Sequence[str]],
    extra: Mapping[str, Sequence[str]],
    controller: str,
    with_gpus: Mapping[str, Any] | None = None,
) -> dict[str, list[str]]:
    """Packages by platform. `hosts`: hosts of each platform; `extra`: more, by platform or `all`; raises BundleError.

    `controller`: the platform of the controlling machine, if it is to get something. `with_gpus`: see `gpus.asked`.
    """
    unknown = sorted(name for name in {*hosts, controller} - {""} if not known(name))
    if unknown:
        raise BundleError(
            [
                f"{name}: unknown platform: {', '.join(DOCKER)} are known, each with -amd64 or -arm64; correct it"
                for name in unknown
            ]
        )
    more = list(extra.get("all", []))
    found = {name: [*BASE, *DOCKER[_release(name)], *more, *extra.get(name, [])] for name in hosts}
    for name, each in (with_gpus or {}).items():
        found[name] += gpus.packages(name, each)
    if controller:
        found[controller] = [*found.get(controller, []), *CONTROLLER]
    return {name: sorted(set(names)) for name, names in found.items()}


def known(platform: str) -> bool:
    """Whether packages for this platform can be named."""
    return _release(platform) in DOCKER and platform != _release(platform)


def sources(platform: str, mirrors: Mapping[str, str], more: Sequence[Mapping[str, Any]] = ()) -> list[Source]:
    """Where packages of a platform come from: the distribution's mirrors, and whatever else names this platform."""
    release = _release(platform)
    system, suite = release.split("-")[0], _SUITES[release]
    key, components = _KEYS[system], _COMPONENTS[system]
    found = [
        Source(uris=mirrors[system], suites=f"{suite} {suite}-updates", components=components, key=key),
        Source(uris=mirrors[f"{system}_security"], suites=f"{suite}-security", components=components, key=key),
    ]
    if release == "debian-12":
        # Debian 12 has no Compose v2: Debian 13 lends that one package, as the role docker does with a network.
        only = ["docker-compose"]
        found.append(Source(uris=mirrors[system], suites="trixie", components="main", key=key, only=only))
    return found + [_source(each) for each in more if platform in each.get("platforms", [platform])]


def platforms(
    hosts: Mapping[str, Sequence[str]],
    extra: Mapping[str, Sequence[str]],
    controller: str,
    mirrors: Mapping[str, str],
    more: Sequence[Mapping[str, Any]] = (),
    *,
    with_gpus: Mapping[str, Any] | None = None,
) -> list[Platform]:
    """What to fetch for every platform; raises BundleError."""
    names, special = wanted(hosts, extra, controller, with_gpus), with_gpus or {}
    found = []
    for need in packages(names, hosts):
        mine, own = sources(need.platform, mirrors, more), special.get(need.platform)
        mine += gpus.sources(need.platform, own) if own else []
        found.append(Platform(need=need, sources=mine, preferences=gpus.preferences(need.platform, own) if own else ""))
    return found


def _source(data: Mapping[str, Any]) -> Source:
    return Source.model_validate({key: value for key, value in data.items() if key != "platforms"})


def _release(platform: str) -> str:
    return platform.rsplit("-", 1)[0] if platform.endswith(("-amd64", "-arm64")) else platform
