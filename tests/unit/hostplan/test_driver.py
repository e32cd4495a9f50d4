"""What would be done on each recorded host, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostplan import Verdict
from tests.support.gpu_hosts import NAMES, planned

PACKAGES = {
    "l4": "linux-headers-6.1.0-41-amd64 nvidia-kernel-open-dkms nvidia-driver-cuda nvidia-persistenced",
    "a100-hgx": "linux-headers-5.15.0-161-generic nvidia-headless-580-open nvidia-utils-580 "
    "nvidia-fabricmanager libnvidia-nscq",
    "a100-pcie": "linux-headers-6.12.57+deb13-amd64 nvidia-kernel-open-dkms nvidia-driver-cuda nvidia-persistenced",
    "h100-hgx": "linux-modules-nvidia-580-server-open-6.8.0-87-generic nvidia-headless-no-dkms-580-server-open "
    "nvidia-utils-580-server nvidia-fabricmanager-580 libnvidia-nscq-580",
    "h100-pcie": "linux-headers-6.1.0-41-amd64 nvidia-kernel-open-dkms nvidia-driver-cuda nvidia-persistenced",
    "h200": "linux-headers-6.1.0-41-amd64 nvidia-kernel-open-dkms nvidia-driver-cuda nvidia-persistenced "
    "nvidia-fabricmanager libnvidia-nscq",
    "b200": "linux-headers-6.8.0-87-generic linux-modules-extra-6.8.0-87-generic nvidia-headless-580-open "
    "nvidia-utils-580 nvidia-fabricmanager libnvidia-nscq libnvsdm nvlsm infiniband-diags libibumad3",
    "gb200": "linux-headers-6.8.0-1038-nvidia-64k nvidia-headless-580-open nvidia-utils-580 nvidia-imex",
    "rtx": "linux-headers-6.12.57+deb13-amd64 nvidia-kernel-open-dkms nvidia-driver-cuda nvidia-persistenced",
    "v100": "linux-headers-5.15.0-161-generic nvidia-headless-580 nvidia-utils-580",
}
VERDICTS = {
    "l4": "install",
    "a100-hgx": "install",
    "a100-pcie": "change",
    "h100-hgx": "install",
    "h100-pcie": "install",
    "h200": "nothing to do",
    "b200": "install",
    "gb200": "install",
    "rtx": "install",
    "v100": "install",
    "gpu-less": "no GPU",
    "dgx": "left alone",
    "secure-boot": "refused",
    "half-installed": "refused",
    "busy": "refused",
    "unknown-gpu": "refused",
    "unknown-system": "refused",
}


def test_every_recorded_host_has_an_expected_verdict() -> None:
    """A recording nobody judges proves nothing."""
    assert set(VERDICTS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_verdict_of_each_recorded_host(name: str) -> None:
    """Problems go with a refusal and with nothing else."""
    decided = planned(name)
    assert decided.verdict == VERDICTS[name], decided.problems
    assert bool(decided.problems) == (decided.verdict is Verdict.REFUSED)


@pytest.mark.parametrize(("name", "packages"), PACKAGES.items())
def test_packages_of_each_recorded_host(name: str, packages: str) -> None:
    """Names by source, system, branch, build and fabric; one version for all that share it."""
    assert planned(name).packages == tuple(packages.split())


@pytest.mark.parametrize(
    ("name", "modules"), [("l4", "open"), ("b200", "open"), ("rtx", "open"), ("v100", "proprietary"), ("h200", "open")]
)
def test_modules_are_open_from_turing_on(name: str, modules: str) -> None:
    """Volta has no open build, Blackwell no other."""
    assert planned(name).modules == modules


@pytest.mark.parametrize(
    ("name", "services"),
    [
        ("l4", ("nvidia-persistenced",)),
        ("h200", ("nvidia-persistenced", "nvidia-fabricmanager")),
        ("b200", ("nvidia-persistenced", "nvidia-fabricmanager")),
        ("gb200", ("nvidia-persistenced", "nvidia-imex")),
    ],
)
def test_fabric_manager_runs_only_where_there_is_a_fabric_to_manage(name: str, services: tuple[str, ...]) -> None:
    """It fails on a host without NVSwitches, and CUDA fails without it on a host with them."""
    assert planned(name).services == services


def test_without_persistence_what_came_with_the_packages_is_stopped() -> None:
    """The package starts it by itself: leaving it out of what is started would change nothing."""
    plan = planned("h200", persistence=False)
    assert (plan.services, plan.idle) == (("nvidia-fabricmanager",), ("nvidia-persistenced",))
    assert planned("h200").idle == ()


def test_fifth_nvlink_needs_infinibands_user_module() -> None:
    """The subnet manager speaks through it."""
    assert planned("b200").load == ("ib_umad",)
    assert planned("h200").load == ()


def test_names_of_later_and_earlier_branches() -> None:
    """NVIDIA took the branch out of the names: of the fabric's with 580, of Ubuntu's drivers with 590."""
    assert planned("a100-hgx", version="570").packages[-2:] == ("nvidia-fabricmanager-570", "libnvidia-nscq-570")
    assert "nvidia-headless-open" in planned("a100-hgx", version="590").packages
    assert "nvidia-imex-570" in planned("gb200", version="570").packages


def test_change_of_branch_removes_the_old_one_first_and_needs_a_reboot() -> None:
    """The loaded module stays the old one until then."""
    decided = planned("a100-pcie")
    assert decided.remove == ("libcuda1", "nvidia-driver-cuda", "nvidia-kernel-open-dkms")
    assert "nvidia-driver-cuda" in decided.install
    assert decided.reboot
    assert not planned("l4").reboot


def test_other_release_of_the_branch_is_no_reason_to_change() -> None:
    """A branch is satisfied by any of its releases; a release only by itself."""
    assert planned("h200", version="580").install == ()
    assert planned("h200", version="580.95.05").install == ()
    assert "nvidia-driver-cuda" in planned("h200", version="580.105.08", change_with_engines=True).install


def test_missing_part_comes_in_the_release_of_what_is_there() -> None:
    """Fabric Manager works with no other release than that of the modules, even within a branch."""
    there = [
        "nvidia-kernel-open-dkms 580.65.06-1",
        "nvidia-driver-cuda 580.65.06-1",
        "nvidia-fabricmanager 580.95.05-1",
    ]
    asked = planned("h200", {"packages": there, "engines": []}).ask
    assert {"nvidia-fabricmanager=580.65.06-*", "libnvidia-nscq=580.65.06-*"} <= set(asked)
    assert not [name for name in asked if name.startswith("nvidia-driver-cuda")]


def test_other_build_of_the_modules_is_removed_first() -> None:
    """The two exclude each other."""
    assert planned("h200", kernel_modules="proprietary").remove == ("nvidia-kernel-open-dkms",)


def test_apt_is_asked_for_versions_where_a_package_carries_the_drivers() -> None:
    """Without one, a package that is there in another release would count as there."""
    asked = planned("b200").ask
    assert "libnvidia-nscq=580.95.05-*" in asked
    assert {"nvlsm", "infiniband-diags", "linux-headers-6.8.0-87-generic"} <= set(asked)
    assert "nvidia-driver-cuda=580.*" in planned("l4").ask


def test_nouveau_costs_a_reboot() -> None:
    """It holds the GPU and cannot be unloaded safely under a console."""
    assert planned("rtx").reboot


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("unknown-system", {}, "Rocky-9 on x86_64 is not known: Debian-12, Debian-13, Ubuntu-22.04, Ubuntu-24.04"),
        ("unknown-gpu", {}, 'GPU 10de:3a01 at 0000:1b:00.0 is not known.*gpu_driver_generations: {"3a01"'),
        ("unknown-gpu", {"generations": {"3a01": "rubin"}}, "gpu_driver_generations: 'rubin'"),
        ("half-installed", {}, "nvidia-dkms-580-open half installed.*gpu_driver_clean_broken: true"),
        ("secure-boot", {}, "Secure Boot is on.*mokutil --import"),
        ("busy", {}, "engine-qwen3-32b-1, engine-qwen3-32b-2 run while the driver would change: drain"),
        ("busy", {}, "nvidia-utils-570 on hold by somebody else"),
        ("busy", {}, "/var has 1800 MiB free: packages and modules need 4096"),
        ("busy", {}, "/boot has 90 MiB free: packages and modules need 256"),
        ("v100", {"version": "590"}, "does not drive Tesla V100 SXM2 32GB: branches 470 to 580 do"),
        ("v100", {"kernel_modules": "open"}, "gpu_driver_kernel_modules: open: .* needs proprietary"),
        ("b200", {"kernel_modules": "proprietary"}, "needs open; set auto or open"),
        ("b200", {"version": "560"}, "branches 570 and newer"),
        ("b200", {"package_source": "distro"}, "8 x B200 SXM needs the software of its fabric"),
        ("h200", {"package_source": "distro"}, "Debian-12 itself has branch 535 alone"),
        ("l4", {"version": "latest"}, "gpu_driver_version: 'latest': a branch like 580"),
        ("l4", {"version": "550"}, "NVIDIA's packages for Debian-12 are known from 560"),
        ("l4", {"package_source": "mirror"}, "gpu_driver_mirror_url is empty"),
        ("l4", {"mig_layout": {"all": ["1g.6gb"]}}, "gpu_driver_mig_layout.0: L4 cannot be split"),
        ("h200", {"mig_layout": {"8": ["1g.18gb"]}}, "the host has 8 GPUs: `all` or 0 to 7"),
        ("h200", {"mig_layout": {"0": ["big"]}}, "profiles read like 3g.40gb"),
        ("h200", {"mig_layout": {"0": ["4g.71gb", "4g.71gb"]}}, "8 compute slices: a GPU has 7"),
    ],
)
def test_refusal_says_what_was_found_and_what_to_do(name: str, asked: dict[str, Any], words: str) -> None:
    """Before any change, all of them at once."""
    decided = planned(name, **asked)
    assert decided.verdict is Verdict.REFUSED
    found = "\n".join(decided.problems)
    assert any(re.search(words, line) for line in decided.problems), found


def test_all_problems_come_at_once() -> None:
    """Engines, a hold, two full file systems: one run names four."""
    assert len(planned("busy").problems) == 4


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("half-installed", {"clean_broken": True}),
        ("secure-boot", {"secure_boot": "enrolled"}),
        ("unknown-gpu", {"generations": {"3a01": "blackwell"}}),
        ("unknown-system", {"package_source": "present"}),
    ],
)
def test_refusal_names_the_variable_that_lifts_it(name: str, asked: dict[str, Any]) -> None:
    """What a refusal says to set is enough."""
    assert planned(name, **asked).problems == ()


def test_cut_short_installation_is_purged_when_told() -> None:
    """Both branches go, whole and half."""
    assert planned("half-installed", clean_broken=True).remove == (
        "nvidia-dkms-580-open",
        "nvidia-headless-570-open",
        "nvidia-utils-570",
    )


def test_two_branches_side_by_side_are_refused() -> None:
    """Each package is whole, and together they are none."""
    packages = ["nvidia-driver-cuda 570.195.03-1", "nvidia-kernel-open-dkms 580.95.05-1"]
    assert "branches 570 and 580 side by side" in planned("l4", {"packages": packages}).problems[0]


def test_holds_of_our_own_are_lifted_for_a_change_and_only_then() -> None:
    """What this role held it may change; what somebody else held it may not."""
    assert planned("h200").unhold == ()
    assert planned("h200", version="590", change_with_engines=True).unhold == (
        "nvidia-driver-cuda",
        "nvidia-kernel-open-dkms",
    )


def test_kernel_is_held_by_policy() -> None:
    """A driver is built for the kernel that runs; a new kernel is an operator's decision."""
    assert "linux-image-6.1.0-41-amd64" in planned("h200").hold
    assert "linux-image-6.1.0-41-amd64" not in planned("h200", hold_kernel=False).hold
    assert planned("h200", hold_packages=False).hold == ()


def test_running_engines_are_no_obstacle_to_doing_nothing() -> None:
    """A second run on a busy host must pass."""
    assert planned("h200", {"engines": ["engine-a"], "free_mib": {"/var": 1}}).verdict is Verdict.CURRENT


def test_driver_of_somebody_else_is_theirs_until_they_say_otherwise() -> None:
    """A host that served before this project came keeps what it has; one that this role prepared is kept in order."""
    found = {"loaded": "570.195.03", "packages": ["nvidia-driver-cuda 570.195.03-1"]}
    kept = planned("l4", found)
    assert (kept.verdict, kept.install) == (Verdict.VENDOR, ())
    assert "gpu_driver_package_source" in kept.reason
    assert planned("l4", found, package_source="upstream").verdict is Verdict.CHANGE
    assert planned("l4", found | {"ours": True}).verdict is Verdict.CHANGE


def test_host_is_never_restarted_under_engines() -> None:
    """Not even where the driver may change under them: a restart ends their answers."""
    stale = {"engines": ["engine-a"], "loaded": "580.65.06"}
    asked: dict[str, Any] = {"version": "580.95.05", "change_with_engines": True}
    assert planned("h200", stale, **asked).reboot
    assert not planned("h200", stale, **asked).problems
    assert "engine-a run while the host would be restarted" in planned("h200", stale, reboot=True, **asked).problems[0]


@pytest.mark.parametrize(("reboot", "drain", "problems"), [(True, True, 0), (False, False, 1)])
def test_engines_are_drained_for_a_restart_where_a_way_was_given(reboot: bool, drain: bool, problems: int) -> None:
    """Only where the host may restart: without one they could not start again on the old module."""
    busy = {"engines": ["engine-a"], "loaded": "580.65.06"}
    found = planned("h200", busy, version="590", reboot=reboot, drains=True)
    assert (found.drain, len(found.problems)) == (drain, problems), found.problems
    assert not planned("h200", {**busy, "engines": []}, version="590", reboot=True, drains=True).drain


def test_secure_boot_is_no_obstacle_where_the_distribution_signs() -> None:
    """Ubuntu's own packages carry signed modules for the running kernel."""
    assert planned("h100-hgx").verdict is Verdict.INSTALL
    assert "set gpu_driver_package_source: distro" in planned("h100-hgx", package_source="upstream").problems[0]


def test_foreign_files_that_name_nvidias_repository_are_refused() -> None:
    """Two keys for one repository stop apt altogether; our own file is none of them."""
    path = "/etc/apt/sources.list.d/cuda-debian12-x86_64.list"
    assert path in planned("l4", {"sources": {path: ""}}).problems[0]
    assert not planned("l4", {"sources": {"/etc/apt/sources.list.d/ironrack-nvidia.sources": ""}}).problems


def test_driver_without_packages_is_refused() -> None:
    """NVIDIA's .run file and packages write over each other."""
    assert "nvidia-uninstall" in planned("l4", {"runfile": True}, package_source="upstream").problems[0]


def test_container_tools_are_no_driver() -> None:
    """Their names begin alike; a change of branch must not take them along."""
    packages = ["nvidia-container-toolkit 1.18.2-1", "libnvidia-container1 1.18.2-1", "nvidia-modprobe 570.133.07-1"]
    assert planned("l4", {"packages": packages}).remove == ()


def test_layout_of_instances_is_spelled_out() -> None:
    """`all` stands for every GPU that is not named itself."""
    assert planned("h200", mig_layout={"all": ["3g.71gb", "3g.71gb"], "1": []}).mig == {
        str(index): [] if index == 1 else ["3g.71gb", "3g.71gb"] for index in range(8)
    }


_WORDS = st.sampled_from(
    ["", "auto", "open", "proprietary", "580", "590", "570.1", "x", "upstream", "distro", "mirror"]
)


@given(st.sampled_from(NAMES), _WORDS, _WORDS, _WORDS)
def test_plan_never_fails_on_what_an_operator_can_write(name: str, version: str, modules: str, source: str) -> None:
    """A mistake is a problem in words, never a traceback; a refused host has no other verdict."""
    decided = planned(name, version=version, kernel_modules=modules, package_source=source)
    assert bool(decided.problems) == (decided.verdict is Verdict.REFUSED)


@pytest.mark.parametrize(
    ("name", "said", "coming"),
    [
        ("l4", {}, 4),
        ("rtx", {}, 0),  # nouveau keeps it out until a restart that nobody allowed
        ("rtx", {"reboot": True}, 2),
        ("h200", {}, 0),  # has one that answers
        ("a100-pcie", {"reboot": True}, 0),  # has an older one that answers
        ("secure-boot", {}, 0),
        ("dgx", {}, 0),
        ("l4", {"package_source": "present"}, 0),
        ("gpu-less", {}, 0),
    ],
)
def test_gpus_are_coming_where_this_run_brings_their_driver(name: str, said: dict[str, Any], coming: int) -> None:
    """A fresh host is no host with a broken driver; one that this run leaves without a driver is."""
    assert planned(name, **said).gpus_coming == coming


@pytest.mark.parametrize(
    ("name", "said", "asked", "version", "waits"),
    [
        ("h200", {}, {"version": "590"}, "590", None),
        ("gpu-less", {}, {}, "", False),
        ("dgx", {}, {}, "", False),
        ("l4", {"nouveau": True}, {"reboot": False}, None, True),
        ("l4", {"nouveau": True}, {"reboot": True}, None, False),
    ],
)
def test_plan_says_which_version_will_be_there_and_whether_it_waits(
    name: str, said: dict[str, Any], asked: dict[str, Any], version: str | None, waits: bool | None
) -> None:
    """For what must be judged before it is installed; empty where the driver is left alone."""
    found = planned(name, said, **asked)
    assert version in (None, found.version)
    assert waits in (None, found.waits)
