"""Operating systems that are known, under the names that package sources use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CODENAMES = {"Debian-12": "bookworm", "Debian-13": "trixie", "Ubuntu-22.04": "jammy", "Ubuntu-24.04": "noble"}
# Folder of NVIDIA's repository, and the key it is signed with.
_REPOSITORIES = {
    "Debian-12": ("debian12", "3bf863cc.pub"),
    "Debian-13": ("debian13", "8793F200.pub"),
    "Ubuntu-22.04": ("ubuntu2204", "3bf863cc.pub"),
    "Ubuntu-24.04": ("ubuntu2404", "3bf863cc.pub"),
}
_ARCHITECTURES = {"x86_64": ("amd64", "x86_64"), "aarch64": ("arm64", "sbsa")}
SUPPORTED = tuple(_CODENAMES)


@dataclass(frozen=True, slots=True)
class Platform:
    """A host's system: distribution as Ansible names it, its version, the running kernel and `uname -m`."""

    distribution: str
    version: str
    kernel: str
    machine: str = "x86_64"

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Platform:
        """From Ansible's facts; Debian counts by its major version, Ubuntu by year and month."""
        name = str(facts["distribution"])
        version = str(facts["distribution_version"])
        short = ".".join(version.split(".")[: 2 if name == "Ubuntu" else 1])
        return cls(name, short, str(facts["kernel"]), str(facts["architecture"]))

    @property
    def name(self) -> str:
        """`Debian-12`, `Ubuntu-24.04`."""
        return f"{self.distribution}-{self.version}"

    @property
    def supported(self) -> bool:
        """Whether package names for this system and machine are known."""
        return self.name in SUPPORTED and self.machine in _ARCHITECTURES

    @property
    def codename(self) -> str:
        """Suite of the distribution."""
        return _CODENAMES[self.name]

    @property
    def architecture(self) -> str:
        """As Debian's packages name it."""
        return _ARCHITECTURES[self.machine][0]

    @property
    def repository(self) -> str:
        """Path below the root of NVIDIA's repositories."""
        return f"{_REPOSITORIES[self.name][0]}/{_ARCHITECTURES[self.machine][1]}"

    @property
    def repository_key(self) -> str:
        """File name of the key in that path."""
        return _REPOSITORIES[self.name][1]
