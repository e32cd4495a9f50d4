"""What a host with GPUs is asked: driver, versions that must agree, the GPUs themselves, fabric, kernel log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hostplan.preflight import boards
from hostplan.preflight.finding import Finding, ok, refused, skipped, warning
from hostplan.preflight.smi import Smi, SmiGpu
from hostplan.preflight.versions import branch
from hostplan.preflight.xids import Xid

Facts = Mapping[str, Any]
GIB = 2**30
IDLE_BYTES = 2 * GIB  # what a driver and its tools hold of an idle GPU
_LOADED = re.compile(r"(?:Kernel Module(?: for \S+)?)\s+(\d+\.[\d.]+)")
_VERSION = re.compile(r"(\d{3}\.[\d.]*\d)")
_PREPARE = "playbooks/prepare.yml installs it; run it, and check again"


def loaded(facts: Facts) -> str:
    """Version of the kernel module that runs now, or an empty text."""
    found = _LOADED.search(facts["driver"]["loaded"])
    return found[1] if found else ""


def is_open(facts: Facts) -> bool:
    """Whether the module that runs now is the open one."""
    return "Open Kernel Module" in facts["driver"]["loaded"]


def present(facts: Facts, expected: int) -> list[Finding]:
    """GPUs on the bus, which no driver is needed for."""
    slots = [each["slot"] for each in facts["pci"]["gpus"]]
    if len(slots) < expected:
        return [
            refused(
                "gpus",
                f"{len(slots)} NVIDIA GPUs on the PCI bus",
                f"the plan expects {expected}",
                "correct stack_gpus of this host, or look for the missing card: power, seating, BIOS, the kernel's log",
            )
        ]
    return []


def driver(facts: Facts) -> list[Finding]:
    """The loaded module beside everything that must be of the same version."""
    mine, running = facts["driver"], loaded(facts)
    if not running:
        if mine["nouveau"]:
            return [warning("driver", "nouveau drives the GPUs", "NVIDIA's driver is needed", _PREPARE)]
        return [warning("driver", "no NVIDIA driver runs", "one is needed", _PREPARE)]
    manager = _VERSION.search(mine["fabric_manager"])
    beside = {
        "libnvidia-ml": mine["libraries"],
        "Fabric Manager": [manager[1]] if manager else [],
    }
    found = [_mismatch(running, name, version) for name, all_of in beside.items() for version in all_of]
    found += _on_disk(running, mine["on_disk"])
    kind = "open" if is_open(facts) else "proprietary"
    return [each for each in found if each] or [ok("driver", f"{running} ({kind} modules), libraries agree")]


def _mismatch(running: str, name: str, version: str) -> Finding | None:
    if version == running:
        return None
    return refused(
        "driver",
        f"kernel module {running} runs with {name} {version}",
        "all must be of one version: running containers go on, and the next one fails",
        "drain this host and restart it; if it comes back the same, install one version of everything",
    )


def _on_disk(running: str, installed: str) -> list[Finding | None]:
    if installed in ("", running):
        return []
    found = f"kernel module {running} runs, {installed} is installed"
    return [warning("driver", found, "the next start of the host changes it", "drain this host and restart it")]


def supported(facts: Facts) -> list[Finding]:
    """Whether this driver's branch and build carry these GPUs."""
    running = loaded(facts)
    if not running:
        return []
    found = []
    for gpu in {each.device: each for each in boards.of(facts)}.values():
        if not gpu.generation:
            continue
        first, last, build = gpu.first_branch, gpu.last_branch, "open" if is_open(facts) else "proprietary"
        if branch(running) < first or (last and branch(running) > last):
            span = f"{first} to {last}" if last else f"{first} or newer"
            found.append(refused("driver", f"{running} runs {gpu.board.name}", f"it needs branch {span}", "change it"))
        if build not in [each.value for each in gpu.modules]:
            needed = " or ".join(each.value for each in gpu.modules)
            found.append(
                refused(
                    "driver", f"{build} modules drive {gpu.board.name}", f"it needs {needed} modules", "change them"
                )
            )
    return found


def visible(facts: Facts, smi: Smi | None, expected: int) -> list[Finding]:
    """GPUs as the driver counts them; a list of fewer than the bus has is a card that was lost."""
    if smi is None:
        if not loaded(facts):
            return [skipped("gpus", "waits for the driver")]
        why = facts["smi"]["error"] or "it says nothing that can be read"
        return [refused("gpus", f"nvidia-smi: {why}", "it must list every GPU", "restart the host, or mend the driver")]
    names = Counter(gpu.name for gpu in smi.gpus)
    text = " + ".join(f"{count} x {name}" for name, count in names.items()) or "none"
    if len(smi.gpus) < expected:
        remedy = "look at the XIDs in the kernel's log; restart the host, or correct stack_gpus"
        return [refused("gpus", f"{text} visible to the driver", f"the plan expects {expected}", remedy)]
    sizes = sorted({round(gpu.memory_bytes / GIB) for gpu in smi.gpus})
    return [ok("gpus", f"{text}, {' and '.join(map(str, sizes))} GiB, driver {smi.driver}")]


def alike(smi: Smi, groups: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """GPUs of one engine of different kinds: the slowest and smallest decides."""
    found = []
    for group in groups:
        names = {smi.gpus[index].name for index in group["gpus"] if index < len(smi.gpus)}
        if len(names) > 1:
            text = f"{group['engine']}: {' and '.join(sorted(names))} together"
            found.append(warning("gpus", text, "the smallest and slowest decides", "give it GPUs of one kind"))
    return found


def health(smi: Smi, busy: bool) -> list[Finding]:
    """Everything that a GPU says against itself; `busy`: engines of ours use them."""
    found = [each for gpu in smi.gpus for each in _health(gpu, busy)]
    return found or [ok("gpu health", "no errors, not throttled, nothing pending")]


def _health(gpu: SmiGpu, busy: bool) -> list[Finding]:
    name, check = f"GPU {gpu.index} ({gpu.slot})", "gpu health"
    found = []
    if gpu.recovery:
        allowed, remedy = "it must ask for nothing", "drain this host and do what it says"
        found.append(refused(check, f"{name} asks for: {gpu.recovery}", allowed, remedy))
    if gpu.remap_failed:
        text = f"{name}: a bad row of memory could not be replaced"
        found.append(refused(check, text, "answers from it may be wrong", "have the card replaced"))
    if gpu.remap_pending:
        text = f"{name}: a bad row of memory waits to be replaced"
        found.append(warning(check, text, "it is after the next reset", "drain this host and restart it"))
    if gpu.uncorrected:
        text = f"{name}: {gpu.uncorrected} memory errors that ECC could not correct"
        found.append(
            warning(check, text, "0 since the driver was loaded is good", "watch it; drain and reset if they grow")
        )
    if gpu.ecc == "Disabled":
        text = f"{name}: ECC is off"
        found.append(
            warning(check, text, "wrong bits in weights stay unseen", "nvidia-smi -e 1 and a restart switch it on")
        )
    if not gpu.persistent:
        text = f"{name}: persistence mode is off"
        allowed, remedy = "an idle GPU forgets its state and starts anew, in seconds", "start nvidia-persistenced"
        found.append(warning(check, text, allowed, f"{remedy}: gpu_driver_persistence: true"))
    slow, remedy = "it runs slower than it could", "look at cooling and power"
    found += [warning(check, f"{name}: {reason}", slow, remedy) for reason in gpu.throttled]
    if gpu.mig:
        text = f"{name}: MIG is on"
        found.append(warning(check, text, "the plan gives engines whole GPUs", "see docs/operations/mig.md"))
    if not busy and gpu.used_bytes > IDLE_BYTES:
        text = f"{name}: {gpu.used_bytes / GIB:.1f} GiB are used, and no engine of ours runs"
        found.append(warning(check, text, "it must be free before engines start", "nvidia-smi names who uses it"))
    return found


def fabric(facts: Facts, smi: Smi | None) -> list[Finding]:
    """NVSwitch and NVLink 5: Fabric Manager runs, and every GPU has joined; else CUDA fails with error 802."""
    switches, state = facts["pci"]["nvswitches"], facts["driver"]["fabric_manager_state"]
    joined = [gpu for gpu in smi.gpus if gpu.fabric_state] if smi else []
    if not switches and not joined:
        return [skipped("fabric", "no NVSwitch here: nothing needs Fabric Manager")]
    late = [gpu for gpu in joined if gpu.fabric_state != "Completed" or gpu.fabric_status not in ("Success", "")]
    found = [
        refused(
            "fabric",
            f"GPU {gpu.index} ({gpu.slot}): state {gpu.fabric_state}, {gpu.fabric_status or 'no status'}",
            "Completed and Success are needed, else CUDA fails with error 802",
            "systemctl restart nvidia-fabricmanager, then read its log",
        )
        for gpu in late
    ]
    if switches and state != "active":
        text = f"nvidia-fabricmanager is {state or 'not there'} on a host with {switches} NVSwitches"
        remedy = "install it in the driver's exact version and start it"
        found.append(refused("fabric", text, "it must run before CUDA does", remedy))
    return found or [ok("fabric", f"{len(joined)} GPUs have joined")]


def kernel_log(facts: Facts, xids: Sequence[Xid], proven: bool) -> list[Finding]:
    """XIDs since the host started. `proven`: every GPU has computed just now, so a fatal one is over."""
    if not facts["kernel_log"]["source"]:
        return [skipped("kernel log", "it cannot be read here: as root, journalctl --dmesg or dmesg must work")]
    fatal = {(each.slot, each.number): each for each in xids if each.fatal}
    found = []
    for each in fatal.values():
        text = f"XID {each.number} of GPU {each.slot}: {each.fatal}"
        if proven:
            found.append(warning("kernel log", text, "it computes again", "if it comes back, have the card looked at"))
        else:
            found.append(
                refused("kernel log", text, "such a GPU must be reset first", "drain this host and restart it")
            )
    counts = Counter(each.number for each in xids if not each.fatal)
    if counts and not found:
        words = ", ".join(f"{number} ({count} times)" for number, count in sorted(counts.items()))
        return [ok("kernel log", f"no fatal XID; others: {words}")]
    return found or [ok("kernel log", "no XID since the host started")]
