"""What stands in the way of a driver, all of it at once, before any change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hostplan import mig
from hostplan.generations import Fabric, Modules
from hostplan.gpus import Hardware
from hostplan.intent import Intent
from hostplan.packages import DEBIAN_BRANCHES
from hostplan.platforms import SUPPORTED
from hostplan.state import State
from hostplan.versions import Package, Version

# NVIDIA's names for Debian that this project knows begin here.
FIRST_UPSTREAM_DEBIAN = 560
OWN_SOURCES = "ironrack-nvidia"


@dataclass(frozen=True, slots=True)
class Case:
    """One host, what is asked of it, and what would follow; `version` is None when the text is none."""

    state: State
    intent: Intent
    hardware: Hardware
    version: Version | None
    modules: Modules | None
    remove: tuple[Package, ...] = ()
    changes: bool = False  # whether packages would be installed or removed
    restart: bool = False  # whether the host would be restarted


def unfit(case: Case) -> Iterator[str]:
    """Reasons why no packages can be chosen at all."""
    state, intent = case.state, case.intent
    if not state.platform.supported:
        known = ", ".join(SUPPORTED)
        yield (
            f"{state.platform.name} on {state.platform.machine} is not known: {known} on x86_64 or aarch64 are; "
            "install the driver yourself and set gpu_driver_package_source: present"
        )
    for gpu in case.hardware.unknown:
        yield (
            f"GPU {gpu.id} at {gpu.slot} is not known: say its generation with "
            f'gpu_driver_generations: {{"{gpu.device}": blackwell}}, or update this project'
        )
    if case.version is None:
        yield f"gpu_driver_version: {intent.version!r}: a branch like 580 or a release like 580.95.05; correct it"
    if intent.package_source == "mirror" and not intent.mirror_url and not intent.from_bundle:
        yield "gpu_driver_mirror_url is empty: gpu_driver_package_source is `mirror`; say where it is"
    yield from _builds(case)


def _builds(case: Case) -> Iterator[str]:
    if case.hardware.unknown or case.modules:
        return
    asked, names = case.intent.kernel_modules, case.hardware.summary
    allowed = " or ".join(case.hardware.modules)
    if not allowed:
        yield f"{names}: no build of the kernel modules drives all of them: take one kind out of the host"
    else:
        yield f"gpu_driver_kernel_modules: {asked}: {names} needs {allowed}; set auto or {allowed}"


def blocked(case: Case) -> Iterator[str]:
    """Reasons why chosen packages must not be installed now."""
    yield from _branch(case)
    yield from _fabric(case)
    yield from _foreign(case)
    yield from _halfway(case)
    yield from _held(case)
    yield from _secure_boot(case)
    yield from _busy(case)
    yield from mig.problems(case.intent.mig_layout or {}, case.hardware)


def _branch(case: Case) -> Iterator[str]:
    assert case.version is not None
    branch, name = case.version.branch, case.state.platform.name
    for board, first, last in sorted({(g.board.name, g.first_branch, g.last_branch) for g in case.hardware.gpus}):
        if branch < first or (last and branch > last):
            span = f"{first} to {last}" if last else f"{first} and newer"
            yield f"gpu_driver_version: {case.version.text} does not drive {board}: branches {span} do; set one of them"
    if case.intent.package_source == "distro" and branch != DEBIAN_BRANCHES.get(name, branch):
        yield (
            f"gpu_driver_version: {case.version.text}: {name} itself has branch {DEBIAN_BRANCHES[name]} alone; "
            "set that, or gpu_driver_package_source: upstream"
        )
    if case.intent.package_source != "distro" and name.startswith("Debian") and branch < FIRST_UPSTREAM_DEBIAN:
        yield (
            f"gpu_driver_version: {case.version.text}: NVIDIA's packages for {name} are known from "
            f"{FIRST_UPSTREAM_DEBIAN}; set a newer branch"
        )


def _fabric(case: Case) -> Iterator[str]:
    if case.intent.package_source != "distro" or case.hardware.fabric is Fabric.NONE:
        return
    if case.state.platform.distribution == "Ubuntu" and case.hardware.fabric is Fabric.NVSWITCH:
        return
    yield (
        f"{case.hardware.summary} needs the software of its fabric ({case.hardware.fabric}): "
        f"{case.state.platform.name} does not have it; set gpu_driver_package_source: upstream"
    )


def _foreign(case: Case) -> Iterator[str]:
    """Two files that name the same repository with different keys stop apt altogether."""
    for path in sorted(case.state.sources):
        if OWN_SOURCES not in path and case.intent.package_source in {"upstream", "distro"}:
            yield f"{path} names NVIDIA's repository, too: this role keeps a file of its own; remove that one"
    if case.state.runfile and not case.state.driver:
        yield "a driver from NVIDIA's .run file is installed: packages would mix with it; run nvidia-uninstall first"


def torn(state: State) -> str:
    """What an installation that was cut short left; empty when the driver is of one piece."""
    broken = [one.name for one in state.driver if one.broken]
    branches = sorted({one.branch for one in state.driver if one.installed})
    if broken:
        return f"{', '.join(broken)} half installed"
    return f"packages of branches {' and '.join(map(str, branches))} side by side" if len(branches) > 1 else ""


def _halfway(case: Case) -> Iterator[str]:
    found = torn(case.state)
    if not found or case.intent.clean_broken:
        return
    yield f"{found}: an installation was cut short; mend it, or set gpu_driver_clean_broken: true to have it purged"


def _held(case: Case) -> Iterator[str]:
    foreign = case.state.holds - case.state.own_holds
    driver = sorted(one.name for one in case.state.driver if one.name in foreign)
    if driver and case.changes:
        yield f"{', '.join(driver)} on hold by somebody else: they would have to change; apt-mark unhold them"


def _secure_boot(case: Case) -> Iterator[str]:
    signed = case.state.platform.distribution == "Ubuntu" and case.intent.package_source == "distro"
    if not case.state.secure_boot or signed or case.intent.secure_boot == "enrolled" or not case.changes:
        return
    way = (
        "set gpu_driver_package_source: distro, whose modules Ubuntu signs, or "
        if case.state.platform.distribution == "Ubuntu"
        else ""
    )
    yield (
        f"Secure Boot is on and modules built here would not be loaded: {way}enrol a key (`mokutil --import "
        "/var/lib/dkms/mok.pub`, reboot, confirm at the console) and set gpu_driver_secure_boot: enrolled, "
        "or switch it off in the firmware"
    )


def _busy(case: Case) -> Iterator[str]:
    drained = case.restart and case.intent.drains
    hurt = case.restart or (case.changes and not case.intent.change_with_engines)
    if case.state.engines and hurt and not drained:
        what, way = "host would be restarted", ""
        if not case.restart:
            what, way = "driver would change", ", or set gpu_driver_change_with_engines: true"
        yield (
            f"{', '.join(case.state.engines)} run while the {what}: drain and stop them "
            f"(docs/operations/driver-upgrade.md){way}"
        )
    if not case.changes:
        return
    for path, free in sorted(case.state.free_mib.items()):
        need = case.intent.free_space_mib if path != "/boot" else 256
        if free < need:
            yield f"{path} has {free} MiB free: packages and modules need {need}; make room"
