"""From a host and what is asked of it to what would be done: the plan of the role `gpu_driver`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from hostplan import apt, mig
from hostplan.generations import Fabric, Modules
from hostplan.gpus import Hardware, detect
from hostplan.intent import Intent
from hostplan.packages import Packages, choose, versioned
from hostplan.problems import Case, blocked, torn, unfit
from hostplan.state import State
from hostplan.versions import Package, Version

_PERSISTENCE = "nvidia-persistenced"


class Verdict(StrEnum):
    """What becomes of a host."""

    NO_GPU = "no GPU"
    VENDOR = "left alone"  # an image whose vendor keeps the driver, or a driver the operator keeps
    REFUSED = "refused"
    INSTALL = "install"
    CHANGE = "change"  # another branch, release, build or source is there
    CURRENT = "nothing to do"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the role does, decided; the role only carries it out."""

    verdict: Verdict
    reason: str
    hardware: str
    fabric: str
    modules: str = ""
    packages: tuple[str, ...] = ()
    install: tuple[str, ...] = ()  # of these, what is missing or of another version
    ask: tuple[str, ...] = ()  # the same as apt is asked for it, with versions
    remove: tuple[str, ...] = ()
    hold: tuple[str, ...] = ()
    unhold: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    load: tuple[str, ...] = ()  # kernel modules beside the driver's own
    reboot: bool = False
    gpus_coming: int = 0  # GPUs without a driver now that have one when this run is over
    problems: tuple[str, ...] = ()
    key_url: str = ""
    sources: str = ""
    preferences: str = ""
    never_alone: str = ""
    mig: Mapping[str, Any] | None = None
    version: str = ""  # branch or release that is there when the role is done; empty where it leaves the driver alone
    drain: bool = False  # whether engines must be drained and stopped first
    waits: bool = False  # whether the old driver goes on until somebody restarts the host
    idle: tuple[str, ...] = ()  # services that come with the packages and must not run


def plan(state: State, intent: Intent) -> Plan:
    """Decide for one host; never raises for what an operator or a host can say wrong."""
    try:
        hardware = detect(state.devices, intent.generations, intent.fabric)
    except ValueError as error:
        return Plan(Verdict.REFUSED, "", "", "", problems=(f"gpu_driver_generations: {error}: correct it",))
    if not hardware.gpus:
        return Plan(Verdict.NO_GPU, "no NVIDIA GPU on the PCI bus", "none", Fabric.NONE)
    kept = _kept(state, intent)
    if kept:
        return Plan(Verdict.VENDOR, kept, hardware.summary, hardware.fabric)
    source = "upstream" if intent.package_source == "auto" else intent.package_source
    return _decide(state, replace(intent, package_source=source), hardware)


def _kept(state: State, intent: Intent) -> str:
    if state.vendor_system:
        return f"{state.vendor_system} brings and updates its own driver"
    if intent.package_source == "present":
        return "gpu_driver_package_source is `present`"
    # A driver that works and that somebody else installed is theirs until they say otherwise.
    if intent.package_source == "auto" and state.loaded and not state.ours:
        return (
            f"driver {state.loaded} is somebody else's: set gpu_driver_package_source to have it kept by this project"
        )
    return ""


def _decide(state: State, intent: Intent, hardware: Hardware) -> Plan:
    version, modules = _version(intent.version), _modules(hardware, intent)
    case = Case(state, intent, hardware, version, modules)
    found = tuple(unfit(case))
    if found or version is None or modules is None:
        return Plan(Verdict.REFUSED, "", hardware.summary, hardware.fabric, problems=found)
    packages = choose(state.platform, intent.package_source, version, modules, hardware.fabric)
    remove = _remove(state, intent, version, modules)
    version = _release(state, version, remove)
    install = _install(state, intent, version, packages, remove)
    changes = bool(install or remove)
    reboot = _reboot(state, version, modules, changes=changes)
    case = Case(state, intent, hardware, version, modules, remove, changes, reboot and intent.reboot)
    found = tuple(blocked(case))
    return Plan(
        _verdict(state, case, found),
        "",
        hardware.summary,
        hardware.fabric,
        modules,
        packages.all,
        install,
        tuple(f"{name}={version.pattern}" if versioned(name, intent.package_source) else name for name in install),
        tuple(sorted(one.name for one in remove)),
        _hold(state, intent, packages),
        _unhold(state, packages, case),
        _services(intent, hardware),
        ("ib_umad",) if hardware.fabric is Fabric.NVLINK5 else (),
        reboot,
        _coming(state, case, found, reboot=reboot),
        found,
        apt.key_url(state.platform, intent),
        apt.sources(state.platform, intent),
        apt.preferences(state.platform, intent),
        apt.never_alone(kernel=intent.hold_kernel) if intent.hold_packages else "",
        mig.layout(intent.mig_layout, len(hardware.gpus)) if intent.mig_layout else None,
        version.text,
        idle=() if intent.persistence else (_PERSISTENCE,),
        drain=bool(not found and case.restart and state.engines),
        waits=reboot and not intent.reboot,
    )


def _version(text: str) -> Version | None:
    try:
        return Version.of(text)
    except ValueError:
        return None


def _modules(hardware: Hardware, intent: Intent) -> Modules | None:
    """The build asked for, or the preferred of those that drive every GPU; None when none does."""
    if intent.kernel_modules == "auto":
        return next(iter(hardware.modules), None)
    return next((build for build in hardware.modules if build == intent.kernel_modules), None)


def _release(state: State, version: Version, remove: tuple[Package, ...]) -> Version:
    """What is there of the branch says which of its releases: Fabric Manager refuses any but the modules' own."""
    there = [one for one in state.driver if one.release and one.installed and one not in remove]
    there.sort(key=lambda one: not any(word in one.name for word in ("kernel", "dkms", "headless")))
    return Version(there[0].release) if there and version.met_by(there[0].release) else version


def _install(
    state: State, intent: Intent, version: Version, packages: Packages, remove: tuple[Package, ...]
) -> tuple[str, ...]:
    there = {one.name: one for one in state.packages if one.installed and one not in remove}

    def good(name: str) -> bool:
        if name not in there:
            return False
        return not versioned(name, intent.package_source) or version.met_by(there[name].version)

    return tuple(name for name in packages.all if not good(name))


def _remove(state: State, intent: Intent, version: Version, modules: Modules) -> tuple[Package, ...]:
    """What must go first: other branches and the other build; everything where an installation was cut short."""
    if intent.clean_broken and torn(state):
        return state.driver
    return tuple(one for one in state.driver if one.branch != version.branch or _other_build(one.name, modules))


def _other_build(name: str, modules: Modules) -> bool:
    kernel = name.startswith(
        ("nvidia-dkms", "nvidia-kernel-dkms", "nvidia-kernel-open", "nvidia-open-kernel", "nvidia-headless")
    )
    built = name.startswith("linux-modules-nvidia-")
    return (kernel or built) and ("open" in name) != (modules is Modules.OPEN)


def _verdict(state: State, case: Case, found: tuple[str, ...]) -> Verdict:
    if found:
        return Verdict.REFUSED
    if not case.changes:
        return Verdict.CURRENT
    return Verdict.CHANGE if state.driver else Verdict.INSTALL


def _coming(state: State, case: Case, found: tuple[str, ...], *, reboot: bool) -> int:
    """GPUs that wait for nothing but this run: engines planned for them are not refused for a driver yet to come."""
    acts = not found and (case.changes or reboot)
    waits = reboot and not case.intent.reboot
    return len(case.hardware.gpus) if acts and not waits and not state.loaded else 0


def _hold(state: State, intent: Intent, packages: Packages) -> tuple[str, ...]:
    """Everything of the driver, and by policy the running kernel with whatever would pull a newer one."""
    if not intent.hold_packages:
        return ()
    kernel = [
        one.name
        for one in state.packages
        if one.installed and one.name.startswith(("linux-image-", "linux-headers-", "linux-generic", "linux-virtual"))
    ]
    return tuple(sorted({*packages.all, *(kernel if intent.hold_kernel else [])}))


def _unhold(state: State, packages: Packages, case: Case) -> tuple[str, ...]:
    """Our own holds that a change needs out of the way."""
    touched = {*packages.all, *(one.name for one in state.driver)}
    return tuple(sorted(state.own_holds & state.holds & touched)) if case.changes else ()


def _services(intent: Intent, hardware: Hardware) -> tuple[str, ...]:
    fabric = {
        Fabric.NONE: (),
        Fabric.NVSWITCH: ("nvidia-fabricmanager",),
        Fabric.NVLINK5: ("nvidia-fabricmanager",),
        Fabric.IMEX: ("nvidia-imex",),
    }[hardware.fabric]
    return (*((_PERSISTENCE,) if intent.persistence else ()), *fabric)


def _reboot(state: State, version: Version, modules: Modules, *, changes: bool) -> bool:
    """Whether what is loaded now keeps the new driver out."""
    if state.nouveau:
        return True
    if not state.loaded:
        return False
    return changes or not version.met_by(state.loaded) or state.loaded_open != (modules is Modules.OPEN)


def as_dict(decided: Plan) -> dict[str, Any]:
    """The plan in plain types, for templates."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(decided).items()}
    return {name: str(value) if isinstance(value, StrEnum) else value for name, value in plain.items()}
