"""What the plan asks of apt is done by apt, with stand-in packages and a package database of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from hostplan import Intent, Plan, State, plan
from tests.support import gpu_hosts

ROOT = Path(__file__).resolve().parents[3]
MIRROR = ROOT / "molecule" / "shared" / "mirror" / "build.py"
LIST = ROOT / "molecule" / "gpu_driver-upgrade" / "packages.yml.j2"
KERNEL = "6.1.0-41-amd64"
YES = ("--yes", "--allow-downgrades", "--allow-change-held-packages", "--no-install-recommends")


class Host:
    """An HGX H200 by its recording, with packages of its own in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mirror = folder / "host", folder / "mirror"
        for name in ("lists/partial", "cache/archives/partial", "dpkg/var/lib/dpkg/updates", "dpkg/var/lib/dpkg/info"):
            (self.folder / name).mkdir(parents=True)
        for name in ("dpkg/var/lib/dpkg/status", "dpkg/var/lib/dpkg/available"):
            (self.folder / name).touch()
        (self.folder / "sources.list").write_text(f"deb [trusted=yes] file:{self.mirror} ./\n")
        self._build(folder / "packages.yml")
        self.apt("update")

    def _build(self, target: Path) -> None:
        listed = yaml.safe_load(jinja2.Template(LIST.read_text()).render(kernel=KERNEL))
        # Scripts and units are for hosts; here they would reach the machine that runs the test.
        for package in listed["packages"]:
            package.pop("scripts", None)
            package["files"] = {f"/usr/share/{package['name']}": "stand-in\n"}
        target.write_text(yaml.safe_dump(listed))
        subprocess.run([sys.executable, MIRROR, target, self.mirror], check=True)

    def apt(self, *argv: str) -> str:
        at = self.folder
        places = {
            "Dir::State::lists": at / "lists",
            "Dir::State::status": at / "dpkg/var/lib/dpkg/status",
            "Dir::State::extended_states": at / "extended_states",
            "Dir::Cache": at / "cache",
            "Dir::Log": at,
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::sourcelist": at / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": at / "preferences",
            "Dir::Etc::preferencesparts": "/dev/null",
            "DPkg::Options::": f"--root={at / 'dpkg'}",
            "APT::Sandbox::User": "",
            "Debug::NoLocking": "1",
        }
        options = [part for name, value in places.items() for part in ("-o", f"{name}={value}")]
        done = subprocess.run(["apt-get", *options, *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dpkg(self, *argv: str) -> str:
        command = [argv[0], f"--root={self.folder / 'dpkg'}", *argv[1:]]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def plan(self, version: str, **asked: Any) -> Plan:
        listing = self.dpkg("dpkg-query", "-W", "-f=${Package} ${Version} ${db:Status-Status}\n")
        recorded = gpu_hosts.variables("h200")["gpu_driver_recorded"]
        packages = [line for line in listing.splitlines() if len(line.split()) == 3]
        state = State.of({"facts": recorded["facts"], "pci": recorded["pci"], "packages": packages})
        return plan(state, Intent(version=version, package_source="mirror", mirror_url="file:///", **asked))

    def change(self, version: str, **asked: Any) -> None:
        decided = self.plan(version, **asked)
        assert not decided.problems
        (self.folder / "preferences").write_text(decided.preferences)
        if decided.remove:
            self.apt(*YES, "purge", *decided.remove)
        self.apt(*YES, "install", *decided.ask)
        assert self.plan(version, **asked).verdict == "nothing to do"

    @property
    def versions(self) -> set[str]:
        lines = self.dpkg("dpkg-query", "-W", "-f=${Package} ${Version}\n").splitlines()
        return {line.split()[1] for line in lines if not line.startswith("linux-headers")}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    if os.geteuid() or not shutil.which("apt-get"):
        pytest.skip("dpkg writes as root alone, on Debian or Ubuntu; runs in scripts/test")
    return Host(tmp_path)


def test_branch_changes_and_releases_go_both_ways(host: Host) -> None:
    """The newest of the branch and not of the next; back to an older release when that is asked for; then nothing."""
    host.change("570")
    assert host.versions == {"570.195.03-1"}
    host.change("580")
    assert host.versions == {"580.95.05-1"}
    assert "nvidia-fabricmanager-570" not in host.dpkg("dpkg-query", "-W")
    host.change("580.65.06")
    assert host.versions == {"580.65.06-1"}


def test_installation_that_was_cut_short_is_refused_then_purged_when_told(host: Host) -> None:
    """A package of the next branch lies unpacked over the old one, and apt alone would do nothing more."""
    host.change("580.65.06")
    host.dpkg("dpkg", "--unpack", str(host.mirror / "nvidia-kernel-support_590.44.01-1.deb"))
    assert "nvidia-kernel-support half installed" in host.plan("580").problems[0]
    host.change("580.95.05", clean_broken=True)
    assert host.versions == {"580.95.05-1"}
