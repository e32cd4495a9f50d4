"""Kernel settings: one table with reasons, what a host cannot take is skipped and said, higher values stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostplan import tuning

ROOT = Path(__file__).resolve().parents[3]
DEFAULTS = {value.key: "1" for value in tuning.TABLE}
PLACES = [*DEFAULTS, tuning.THP, tuning.GOVERNOR]


def planned(intent: dict[str, Any] | None = None, **found: Any) -> dict[str, Any]:
    """The plan for a server that can take everything, unless `found` says otherwise."""
    server = {
        "sysctl": DEFAULTS,
        "writable": PLACES,
        "thp": "always",
        "governors": ["powersave"],
        "governors_known": ["performance", "powersave"],
        "time_units": ["chrony.service"],
        "synchronized": True,
    }
    return tuning.plan(intent or {}, {**server, **found})


def test_server_takes_every_value_of_the_table() -> None:
    """Nothing is skipped; what differs is listed; both files outside sysctl are written for the next boot."""
    plan = planned()
    assert plan["sysctl"] == {value.key: value.value for value in tuning.TABLE}
    assert plan["skipped"] == plan["warnings"] == []
    assert (plan["thp"], plan["governor"], len(plan["tmpfiles"])) == (True, True, 2)
    assert "vm.swappiness" not in plan["changed"]
    assert plan["changed"]["net.core.somaxconn"] == "16384"


def test_second_run_changes_nothing() -> None:
    """A host that was tuned differs in nothing, however the kernel spaces its numbers."""
    told = {key: value.replace(" ", "\t") for key, value in planned()["sysctl"].items()}
    plan = planned(sysctl=told, thp="madvise", governors=["performance"])
    assert (plan["changed"], plan["thp"], plan["governor"]) == ({}, False, False)


def test_higher_value_of_somebody_else_stays_where_more_is_as_good() -> None:
    """A floor is no ceiling; what the inventory says is said."""
    high = {**DEFAULTS, "net.core.somaxconn": "65535"}
    assert planned(sysctl=high)["sysctl"]["net.core.somaxconn"] == "65535"
    assert planned({"sysctl": {"net.core.somaxconn": 4096}}, sysctl=high)["sysctl"]["net.core.somaxconn"] == "4096"
    assert "vm.swappiness" not in planned({"sysctl": {"vm.swappiness": ""}})["sysctl"]


def test_container_is_told_what_its_host_decides() -> None:
    """Neither an error nor silence."""
    plan = planned(writable=["net.core.somaxconn"], container="docker", time_units=[], governors_known=[])
    assert plan["sysctl"] == {"net.core.somaxconn": "16384"}
    assert len(plan["skipped"]) == len(tuning.TABLE) - 1 + 3
    assert "vm.swappiness: read-only here; the host of this container decides" in plan["skipped"]
    assert (plan["time_sync"], plan["tmpfiles"]) == (False, [])


def test_virtual_machine_leaves_the_clock_of_its_cores_to_the_hypervisor() -> None:
    """No cpufreq, no governor."""
    plan = planned(virtual="kvm", governors=[], governors_known=[], writable=[*DEFAULTS, tuning.THP])
    assert plan["skipped"] == ["CPU governor performance: not offered here; the hypervisor (kvm) decides"]


def test_hugepages_are_reserved_only_when_asked_for() -> None:
    """They are taken from everything else."""
    pages: dict[str, Any] = {"sysctl": {**DEFAULTS, "vm.nr_hugepages": "0"}, "writable": [*PLACES, "vm.nr_hugepages"]}
    assert "vm.nr_hugepages" not in planned(**pages)["sysctl"]
    assert planned({"hugepages": 512}, **pages)["sysctl"]["vm.nr_hugepages"] == "512"


_TWO = [{"address": "0000:01:00.0", "node": 0}, {"address": "0000:41:00.0", "node": 1}]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"gpus": _TWO, "acs": ["0000:00:01.0"]}, "PCIe ACS redirects traffic between devices at 0000:00:01.0"),
        ({"gpus": _TWO, "iommu": "translating"}, "boot with iommu=pt"),
        ({"synchronized": False}, "the clock is not in sync yet"),
        ({"gpus": [{"node": -1}] * 2, "nodes": {"0": "0-7", "1": "8-15"}}, "the firmware hides it"),
    ],
)
def test_what_hangs_collectives_or_clocks_is_a_warning(found: dict[str, Any], words: str) -> None:
    """A warning says what it does and what to change; nothing is changed behind anybody's back."""
    (warning,) = planned(**found)["warnings"]
    assert words in warning


@pytest.mark.parametrize(
    "found",
    [
        {"gpus": _TWO[:1], "acs": ["0000:00:01.0"]},
        {"gpus": _TWO, "acs": ["x"], "iommu": "translating", "nvswitch": True},
    ],
)
def test_one_gpu_and_nvswitch_need_no_pcie_between_gpus(found: dict[str, Any]) -> None:
    """Nothing to warn about."""
    assert planned(**found)["warnings"] == []


def test_time_is_kept_by_whoever_keeps_it_already() -> None:
    """A service is installed only where none is active."""
    assert planned()["time_sync"] is False
    assert planned(time_units=[])["time_sync"] is True
    assert planned({"time_sync": False}, time_units=[])["time_sync"] is False


def test_files_say_why() -> None:
    """Each value stands under its reason."""
    text = tuning.sysctl_file({"vm.swappiness": "1", "vm.nr_hugepages": "8"})
    assert "seconds; swap stays for emergencies.\nvm.swappiness = 1\n" in text
    assert "# Asked for in the inventory.\nvm.nr_hugepages = 8\n" in text
    assert "* - memlock unlimited\nroot - memlock unlimited\n" in tuning.limits_file()


@pytest.mark.parametrize("page", ["roles/host_tuning/README.md", "docs/operations/prepare-hosts.md"])
def test_documents_carry_the_table_as_it_is(page: str) -> None:
    """One table: a value that changes here changes there (print(hostplan.tuning.table()) shows it)."""
    assert tuning.table() in (ROOT / page).read_text()


def test_only_what_differs_from_before_is_set_back() -> None:
    """What nobody remembers stays; what is as it was, however it is spaced, is not touched."""
    before = {
        "sysctl": {"net.core.somaxconn": "4096", "vm.swappiness": "60", "net.ipv4.tcp_rmem": "4096 1 2"},
        "thp": "always",
        "governors": ["powersave"],
    }
    now = {"net.core.somaxconn": "16384", "vm.swappiness": "60", "net.ipv4.tcp_rmem": "4096\t1\t2"}
    found = {"sysctl": now, "thp": "madvise", "governors": ["powersave"]}
    assert tuning.undo(before, found) == {"sysctl": {"net.core.somaxconn": "4096"}, "files": {tuning.THP: "always"}}
    assert tuning.undo({}, found) == {"sysctl": {}, "files": {}}
