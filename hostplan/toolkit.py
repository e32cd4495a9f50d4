"""What a GPU host needs of NVIDIA's container toolkit: packages, pins, settings of Docker and containerd, refusals.

One way of giving GPUs to containers is prepared, the one the engines' Compose files ask for.
A host without a GPU needs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hostplan.tomlmerge import NotMergeable, Wanted, merged

# All four carry one version: a mix of them has been seen to start containers without GPUs.
PACKAGES = (
    "libnvidia-container1",
    "libnvidia-container-tools",
    "nvidia-container-toolkit-base",
    "nvidia-container-toolkit",
)
REFRESH_SINCE = (1, 18)  # from here on the toolkit brings units of its own that write the CDI specification
CDI_SINCE = (25, 0)  # Docker's first release that knows CDI
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
KEYRING = "/etc/apt/keyrings/ironrack-container-toolkit.asc"
VERSION = re.compile(r"\d+\.\d+\.\d+-\d+")


@dataclass(frozen=True, slots=True)
class Intent:
    """What the inventory asks for."""

    mode: str  # cdi or runtime
    version: str  # of all four packages, as apt writes it
    source: str  # upstream, mirror or present
    repository_url: str
    key_url: str
    trusted: bool
    from_bundle: bool = False
    change_with_engines: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What the host answered."""

    gpus: list[str] = field(default_factory=list)  # PCI addresses
    packages: dict[str, str] = field(default_factory=dict)  # installed ones with their versions
    broken: dict[str, str] = field(default_factory=dict)  # half-installed ones with dpkg's word for it
    held: list[str] = field(default_factory=list)
    ours: bool = False  # whether the pin of this role is there
    dgx: bool = False
    docker: str = ""  # version of the daemon that answers
    engines: list[str] = field(default_factory=list)  # running ones
    architecture: str = "x86_64"
    driver: str = ""  # version of the loaded kernel module
    spec_driver: str = ""  # version of the driver that the CDI specification names
    config: str = ""  # /etc/nvidia-container-runtime/config.toml


@dataclass(frozen=True, slots=True)
class Plan:
    """What the role does; an empty plan with a reason where it does nothing."""

    nothing: str = ""
    source: str = ""
    version: str = ""  # of the toolkit when the role is done
    install: list[str] = field(default_factory=list)
    hold: list[str] = field(default_factory=list)
    preferences: str = ""
    repository: str = ""
    own_refresh: bool = False  # whether this role's unit writes the specification
    refresh: bool = False  # whether it must be written now
    daemon_settings: dict[str, Any] = field(default_factory=dict)
    config: str = ""  # config.toml as it should be
    problems: list[str] = field(default_factory=list)


def plan(intent: Mapping[str, Any], found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The role's decisions as plain data; `where` names the host in problems."""
    return asdict(_plan(Intent(**intent), Found(**found), where))


def _plan(intent: Intent, found: Found, where: str) -> Plan:
    if not found.gpus:
        return Plan(nothing="no NVIDIA GPU on the PCI bus: nothing to do")
    source = "present" if found.dgx else intent.source
    version = intent.version if source != "present" else found.packages.get(PACKAGES[-1], "")
    config, problem = _config(intent, found)
    problems = [*_problems(intent, found, source), *([problem] if problem else [])]
    managed = source != "present"
    return Plan(
        source=source,
        version=version,
        install=[f"{name}={version}" for name in PACKAGES if managed and found.packages.get(name) != version],
        hold=[name for name in PACKAGES if managed],
        preferences=preferences(version) if managed else "",
        repository=repository(intent, found) if managed and not intent.from_bundle else "",
        own_refresh=intent.mode == "cdi" and not brings_refresh(version),
        refresh=intent.mode == "cdi" and found.driver not in ("", found.spec_driver),
        daemon_settings=daemon_settings(intent.mode),
        config=config,
        problems=[f"{where}: container_toolkit: {text}" for text in problems],
    )


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 1.18.2-1 is (1, 18, 2)."""
    return tuple(
        int(part) for part in re.findall(r"\d+", version.rsplit(":", maxsplit=1)[-1].split("-", maxsplit=1)[0])[:3]
    )


def brings_refresh(version: str) -> bool:
    """Whether this toolkit has nvidia-cdi-refresh; an unknown version is taken for a new one."""
    return not version or numbers(version) >= REFRESH_SINCE


def knows_cdi(docker: str) -> bool:
    """Whether this Docker can read CDI specifications; one that does not answer yet is not judged."""
    return not docker or numbers(docker) >= CDI_SINCE


def preferences(version: str) -> str:
    """apt's pin: this version of each package before any other, going back to it included."""
    head = "# Managed by Ironrack: edit the inventory, not this file.\n"
    return head + "".join(f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n" for name in PACKAGES)


def repository(intent: Intent, found: Found) -> str:
    """apt's source in deb822, of NVIDIA or of a mirror laid out like it."""
    url = intent.repository_url.replace("$arch", ARCHITECTURES.get(found.architecture, found.architecture))
    trust = f"Signed-By: {KEYRING}" if intent.key_url else "Trusted: yes"
    head = "# Managed by Ironrack: edit the inventory, not this file."
    return f"{head}\nTypes: deb\nURIs: {url}\nSuites: /\n{trust}\n"


def daemon_settings(mode: str) -> dict[str, Any]:
    """What Docker's daemon.json must say for this mode; merged by the role docker, which alone writes that file."""
    if mode == "cdi":
        return {"features": {"cdi": True}, "cdi-spec-dirs": ["/etc/cdi", "/var/run/cdi"]}
    return {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}


def runtime_config(mode: str) -> Wanted:
    """What NVIDIA's own runtime must do: the same, whichever default a later release has."""
    return {("nvidia-container-runtime",): {"mode": "cdi" if mode == "cdi" else "legacy"}}


def containerd(text: str, mode: str) -> str:
    """containerd's configuration with what this mode needs; raises NotMergeable."""
    third = re.search(r"^\s*version\s*=\s*3", text, re.M)
    cri = ("plugins", "io.containerd.cri.v1.runtime" if third else "io.containerd.grpc.v1.cri")
    version: Wanted = {} if re.search(r"^\s*version\s*=", text, re.M) else {(): {"version": 2}}
    if mode == "cdi":
        return merged(text, {**version, cri: {"enable_cdi": True, "cdi_spec_dirs": ["/etc/cdi", "/var/run/cdi"]}})
    runtime = (*cri, "containerd", "runtimes", "nvidia")
    keys: Wanted = {
        runtime: {"runtime_type": "io.containerd.runc.v2"},
        (*runtime, "options"): {"BinaryName": "/usr/bin/nvidia-container-runtime"},
    }
    return merged(text, {**version, **keys})


def _config(intent: Intent, found: Found) -> tuple[str, str]:
    try:
        return merged(found.config, runtime_config(intent.mode)), ""
    except NotMergeable as error:
        return found.config, f"/etc/nvidia-container-runtime/config.toml: {error}: it is merged into; mend it"


def _problems(intent: Intent, found: Found, source: str) -> Iterator[str]:
    if source == "present":
        yield from _missing(found)
    else:
        yield from _source(intent)
        yield from _foreign(intent, found)
        yield from _engines(intent, found)
    for name, state in found.broken.items():
        yield f"{name} is {state}: installed is allowed; run dpkg --configure -a, or purge it"
    if intent.mode == "cdi" and not knows_cdi(found.docker):
        yield (
            f"Docker {found.docker} was found: CDI needs Docker 25 or later; upgrade Docker, or set "
            "stack_engines.gpu_injection: runtime"
        )


def _missing(found: Found) -> Iterator[str]:
    missing = [name for name in PACKAGES if name not in found.packages]
    if missing:
        yield f"{', '.join(missing)} not installed: packages are left as they are here; install them or choose a source"


def _source(intent: Intent) -> Iterator[str]:
    if not VERSION.fullmatch(intent.version):
        yield f"version {intent.version!r} was found: one exact version such as 1.18.2-1 is allowed; correct it"
    if not (intent.key_url or intent.trusted or intent.from_bundle):
        yield (
            f"{intent.repository_url} without a key was found: give container_toolkit_repository_key_url, or say "
            "container_toolkit_repository_trusted: true"
        )


def _foreign(intent: Intent, found: Found) -> Iterator[str]:
    held = [name for name in PACKAGES if name in found.held and found.packages.get(name) != intent.version]
    if held and not found.ours:
        yield (
            f"{', '.join(held)} held by somebody else at another version: {intent.version} is wanted; run "
            f"apt-mark unhold {' '.join(held)}, or set container_toolkit_version to what is there"
        )


def _engines(intent: Intent, found: Found) -> Iterator[str]:
    changes = [name for name in PACKAGES if name in found.packages and found.packages[name] != intent.version]
    if changes and found.engines and not intent.change_with_engines:
        yield (
            f"{', '.join(changes)} would change while {', '.join(found.engines)} run: a container that restarts "
            "then meets another toolkit; drain and stop them, or set container_toolkit_change_with_engines: true"
        )
