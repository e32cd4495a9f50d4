"""What apt is told, judged by apt itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hostplan import Platform
from hostplan.apt import key_url, never_alone, preferences, sources
from hostplan.intent import Intent

DEBIAN = Platform("Debian", "12", "6.1.0-41-amd64")
UBUNTU = Platform("Ubuntu", "24.04", "6.8.0-87-generic", "aarch64")
NAMES = ("nvidia-driver-cuda", "libcuda1", "libnvidia-compute-580", "nvidia-container-toolkit", "libnvidia-container1")
VERSIONS = ("570.195.03-1", "580.65.06-1", "580.95.05-1", "590.44.01-1")


class Apt:
    """An apt of its own, in a folder, with repositories that offer every name in every version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("lists/partial", "cache/archives/partial", "etc"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        self.origins: list[str] = []

    def offer(self, origin: str, versions: tuple[str, ...]) -> None:
        repository = self.folder / origin
        repository.mkdir()
        text = "\n".join(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nFilename: ./x.deb\nSize: 1\nDescription: x\n"
            for name in NAMES
            for version in versions
        )
        (repository / "Packages").write_text(text)
        (repository / "Release").write_text(f"Origin: {origin}\nSuite: stable\n")
        self.origins.append(f"deb [trusted=yes] file:{repository} ./\n")

    def run(self, *argv: str) -> str:
        (self.folder / "etc/sources.list").write_text("".join(self.origins))
        at = self.folder
        places = {
            "Dir::State::lists": at / "lists",
            "Dir::State::status": at / "status",
            "Dir::Cache": at / "cache",
            "Dir::Etc::sourcelist": at / "etc/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::preferences": at / "etc/preferences",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Sandbox::User": "",
        }
        options = [part for name, value in places.items() for part in ("-o", f"{name}={value}")]
        done = subprocess.run([argv[0], *options, *argv[1:]], capture_output=True, text=True, check=True)
        return done.stdout

    def candidates(self, text: str) -> dict[str, str]:
        """Package → the version apt would install under these preferences."""
        (self.folder / "etc/preferences").write_text(text)
        found = re.findall(r"^(\S+):\n.*\n\s+Candidate: (\S+)", self.run("apt-cache", "policy", *NAMES), re.M)
        return dict(found)


@pytest.fixture
def apt(tmp_path: Path) -> Apt:
    if not shutil.which("apt-get"):
        pytest.skip("no apt on this system; runs on every Debian and Ubuntu")
    made = Apt(tmp_path)
    made.offer("NVIDIA", VERSIONS)
    made.run("apt-get", "update")
    return made


@pytest.mark.parametrize(("version", "expected"), [("580", "580.95.05-1"), ("580.65.06", "580.65.06-1")])
def test_pins_allow_the_branch_or_release_asked_for_and_no_other(apt: Apt, version: str, expected: str) -> None:
    """The container tools have names that begin alike and are left alone."""
    found = apt.candidates(preferences(DEBIAN, Intent(version=version, package_source="upstream")))
    assert {found[name] for name in NAMES[:3]} == {expected}
    assert {found[name] for name in NAMES[3:]} == {"590.44.01-1"}


def test_branch_that_nobody_offers_is_installed_by_nothing(apt: Apt) -> None:
    """A typing mistake must not fall back to the newest."""
    assert (
        apt.candidates(preferences(DEBIAN, Intent(version="555", package_source="upstream")))["nvidia-driver-cuda"]
        == "(none)"
    )


def test_packages_of_the_distribution_give_way_to_the_source_asked_for(apt: Apt) -> None:
    """One repository is chosen, even when the other has a newer release of the branch."""
    apt.offer("Debian", ("580.142.01-1",))
    apt.run("apt-get", "update")
    assert apt.candidates(preferences(DEBIAN, Intent(package_source="upstream")))["libcuda1"] == "580.95.05-1"
    assert apt.candidates(preferences(DEBIAN, Intent(package_source="mirror")))["libcuda1"] == "580.142.01-1"


def test_sources_name_repository_and_key_of_the_system() -> None:
    """Debian needs contrib beside NVIDIA's repository, Ubuntu nothing, and Debian 13's key is another."""
    assert "URIs: https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64\n" in sources(
        DEBIAN, Intent(package_source="upstream")
    )
    assert "Components: contrib\n" in sources(DEBIAN, Intent(package_source="upstream"))
    assert "ubuntu2404/sbsa\nSuites: /\n" in sources(UBUNTU, Intent(package_source="upstream"))
    assert sources(UBUNTU, Intent(package_source="distro")) == ""
    assert "non-free-firmware" in sources(DEBIAN, Intent(package_source="distro"))
    assert key_url(Platform("Debian", "13", "6.12"), Intent(package_source="upstream")).endswith(
        "debian13/x86_64/8793F200.pub"
    )
    assert key_url(DEBIAN, Intent(package_source="distro")) == ""


def test_mirror_is_signed_or_said_to_be_trusted() -> None:
    """Never silently unsigned."""
    mirror = Intent(
        package_source="mirror", mirror_url="http://mirror/nvidia", mirror_suite="stable", mirror_components=("main",)
    )
    assert "Trusted: yes" in sources(DEBIAN, mirror)
    signed = Intent(package_source="mirror", mirror_url="http://m", mirror_keyring="/etc/apt/keyrings/m.gpg")
    assert "Signed-By: /etc/apt/keyrings/m.gpg\n" in sources(DEBIAN, signed)
    assert "Trusted" not in sources(DEBIAN, signed)


def test_bundle_needs_no_source_and_no_key() -> None:
    """Its repository is known to apt already, and there is no network to ask."""
    assert (
        sources(DEBIAN, Intent(package_source="upstream", from_bundle=True)),
        key_url(DEBIAN, Intent(package_source="upstream", from_bundle=True)),
    ) == ("", "")


def test_unattended_upgrades_leave_kernel_alone_by_policy(tmp_path: Path) -> None:
    """apt reads what is written; without the policy the kernel is not in it."""
    if not shutil.which("apt-config"):
        pytest.skip("no apt on this system; runs on every Debian and Ubuntu")
    (tmp_path / "conf").write_text(never_alone(kernel=True))
    done = subprocess.run(["apt-config", "-c", tmp_path / "conf", "dump"], capture_output=True, text=True, check=True)
    assert 'Unattended-Upgrade::Package-Blacklist:: "linux-image-"' in done.stdout
    assert "linux-image-" not in never_alone(kernel=False)
    assert '"docker"' in never_alone(kernel=False)
