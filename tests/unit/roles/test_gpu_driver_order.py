"""The driver's change in order: apt is asked first, a refusal leaves the host as it was, and no hold stays lifted.

apt and dpkg are the real ones, with a folder of their own instead of the machine's: nothing here installs or removes.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.playbooks import bare, play, role, stand_in

DRIVER, OTHER = "nvidia-driver-cuda", "cluster-agent"

pytestmark = pytest.mark.skipif(not shutil.which("apt-mark"), reason="needs apt and dpkg; host containers run the rest")


class Host:
    """A package database in a folder: a driver of branch 570 on hold, and somebody else's package beside it."""

    def __init__(self, folder: Path, arch: str) -> None:
        self.folder, self.arch = folder, arch
        for name in ("dpkg/info", "dpkg/updates", "lists/partial", "cache/archives/partial", "etc", "repo"):
            (folder / name).mkdir(parents=True)
        installed = [(DRIVER, "570.1.1-1", "hold"), (OTHER, "1.0", "install")]
        (folder / "dpkg/status").write_text("".join(self._paragraph(*each) for each in installed))
        (folder / "apt.conf").write_text(
            f'Dir::State "{folder}";\nDir::State::status "{folder}/dpkg/status";\nDir::State::lists "{folder}/lists";\n'
            f'Dir::State::extended_states "{folder}/extended";\nDir::Cache "{folder}/cache";\n'
            f'Dir::Etc "{folder}/etc";\nDir::Log "/dev/null";\n'
        )
        self.env = bare(folder, APT_CONFIG=str(folder / "apt.conf"), DPKG_ADMINDIR=str(folder / "dpkg"))
        self.env["PATH"] += ":/usr/sbin:/sbin"

    def _paragraph(self, name: str, version: str, wish: str) -> str:
        head = f"Package: {name}\nStatus: {wish} ok installed\nArchitecture: {self.arch}\nVersion: {version}\n"
        return f"{head}Maintainer: nobody <n@example.org>\nDescription: stands in\n\n"

    def offers(self, extra: str) -> None:
        """Branch 580 in a repository; `extra` are further fields of it."""
        (self.folder / "repo/Packages").write_text(
            f"Package: {DRIVER}\nArchitecture: {self.arch}\nVersion: 580.1.1-1\n{extra}Filename: x.deb\nSize: 1\n"
            f"SHA256: {'0' * 64}\nMaintainer: nobody <n@example.org>\nDescription: stands in\n\n"
        )
        (self.folder / "etc/sources.list").write_text(f"deb [trusted=yes] file:{self.folder}/repo ./\n")
        sandbox = ["-o", "APT::Sandbox::User=root"]
        subprocess.run(["apt-get", "update", *sandbox], env=self.env, check=True, capture_output=True)

    def holds(self) -> list[str]:
        """As apt tells them."""
        done = subprocess.run(["apt-mark", "showhold"], env=self.env, check=True, capture_output=True, text=True)
        return done.stdout.split()

    def change(self, *options: str, **variables: Any) -> str:
        """What the role says while it changes the driver."""
        plan: dict[str, Any] = {
            "verdict": "change",
            "remove": [],
            "install": [DRIVER],
            "ask": [f"{DRIVER}=580.*"],
            "unhold": [DRIVER],
        }
        plan["drain"] = "gpu_driver_drain_tasks" in variables
        values = {
            "gpu_driver_plan": plan,
            "__gpu_driver_nouveau": str(self.folder / "nouveau.conf"),
            "gpu_driver_rebuild_initramfs": False,
            **variables,
        }
        done = play(self.folder, [role("gpu_driver", "deploy_change")], values, *options, env=self.env)
        return done.stdout + done.stderr


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """With dpkg's own word for the architecture."""
    done = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    return Host(tmp_path, done.stdout.strip())


def test_refusal_leaves_nouveau_and_holds_as_they_were(host: Host) -> None:
    """apt would take somebody's package away: the driver is on hold afterwards, and nothing of nouveau was written."""
    host.offers(f"Conflicts: {OTHER}\n")
    said = host.change()
    assert f"apt would also do this: Remv {OTHER}" in said, said
    assert "Only package sources and pins were written" in said
    assert host.holds() == [DRIVER]
    assert not (host.folder / "nouveau.conf").exists()


def test_question_that_apt_cannot_answer_leaves_holds_as_they_were(host: Host) -> None:
    """A branch that no source has fails while apt is asked."""
    host.offers("Depends: not-there\n")
    said = host.change()
    assert "Ask apt what it would do" in said
    assert "failed=1" in said, said
    assert host.holds() == [DRIVER]
    assert not (host.folder / "nouveau.conf").exists()


def test_apt_is_asked_without_our_holds_and_the_driver_may_change(host: Host) -> None:
    """A plan of the driver alone passes; what fails after it puts the holds back all the same."""
    host.offers("")
    nowhere = str(host.folder / "none" / "nouveau.conf")
    said = host.change(__gpu_driver_nouveau=nowhere)
    assert "apt would also do this" not in said, said
    assert "Keep nouveau from the GPUs" in said
    assert "failed=1" in said
    assert host.holds() == [DRIVER]


def test_dry_run_asks_nothing_and_lifts_nothing(host: Host) -> None:
    """Check mode shows nouveau's file as a change and leaves holds alone."""
    host.offers(f"Conflicts: {OTHER}\n")
    said = host.change("--check")
    assert "failed=0" in said, said
    assert "Lift our own holds" not in said
    assert host.holds() == [DRIVER]
    assert not (host.folder / "nouveau.conf").exists()


@pytest.mark.parametrize(("extra", "drained"), [("", True), (f"Conflicts: {OTHER}\n", False)])
def test_engines_are_drained_only_once_apt_has_agreed(host: Host, extra: str, drained: bool) -> None:
    """A refusal costs no engine its work; a drain after which one still runs ends the change, holds put back."""
    stand_in(host.folder, "docker", "#!/bin/sh\necho engine-a\n")
    marker = {"ansible.builtin.file": {"path": str(host.folder / "drained"), "state": "touch", "mode": "0644"}}
    (host.folder / "drain.yml").write_text(yaml.safe_dump([marker]))
    host.offers(extra)
    said = host.change(gpu_driver_drain_tasks=str(host.folder / "drain.yml"))
    assert (host.folder / "drained").exists() is drained, said
    assert ("engine-a still run after" in said) is drained
    assert host.holds() == [DRIVER]
    assert not (host.folder / "nouveau.conf").exists()
