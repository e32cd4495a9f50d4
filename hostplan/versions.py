"""Driver versions, as they are asked for and as packages carry them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ASKED = re.compile(r"^\d{3}(\.\d+){0,2}$")
_RELEASE = re.compile(r"^(?:\d+:)?(\d{3}\.\d+(?:\.\d+)?)-")
_CARRIED = re.compile(r"^(?:\d+:)?(\d{3})\.\d")
# Modules that a distribution builds ahead carry the kernel's version; the branch is in their name.
_PREBUILT = re.compile(r"^linux-(?:modules|objects|signatures)-nvidia-(\d{3})\b")
_DRIVER = re.compile(
    r"^(?:lib|firmware-|xserver-xorg-video-)?(?:nvidia|cuda-drivers|cuda1|cudadebugger1|nvcuvid1|nvsdm)"
)
# Not parts of a branch: the container tools, and helpers that distributions carry at versions of their own.
_OTHERS = re.compile(r"nvidia-(?:container|docker|cuda|modprobe|persistenced|settings|xconfig|driver-pinning)")


@dataclass(frozen=True, slots=True)
class Version:
    """A branch (`580`) or one release of it (`580.95.05`)."""

    text: str

    @classmethod
    def of(cls, text: str) -> Version:
        """Raises ValueError when the text is neither a branch nor a release."""
        if not _ASKED.match(text):
            raise ValueError(f"{text!r} is neither a branch like 580 nor a release like 580.95.05")
        return cls(text)

    @property
    def branch(self) -> int:
        """What driver, Fabric Manager and libraries must share."""
        return int(self.text[:3])

    @property
    def pattern(self) -> str:
        """Glob of the package versions that satisfy it."""
        return f"{self.text}-*" if self.text.count(".") == 2 else f"{self.text}.*"

    def met_by(self, package_version: str) -> bool:
        """Whether a package's version is of this branch or release; an epoch does not count."""
        bare = package_version.split(":", 1)[-1]
        return bare == self.text or bare.startswith((f"{self.text}.", f"{self.text}-"))


@dataclass(frozen=True, slots=True)
class Package:
    """A package as dpkg knows it; `status` is dpkg's own word."""

    name: str
    version: str
    status: str = "installed"

    @classmethod
    def of(cls, line: str) -> Package:
        """From `name version status`, the form the host is asked in."""
        name, version, *status = line.split()
        return cls(name, version, status[0] if status else "installed")

    @property
    def branch(self) -> int:
        """Driver branch it belongs to, 0 when it is no part of a driver."""
        prebuilt = _PREBUILT.match(self.name)
        if prebuilt:
            return int(prebuilt[1])
        if not _DRIVER.match(self.name) or _OTHERS.search(self.name):
            return 0
        carried = _CARRIED.match(self.version)
        return int(carried[1]) if carried else 0

    @property
    def release(self) -> str:
        """Release of the driver it carries, like 580.95.05; empty when it is no part of one or has another version."""
        carried = _RELEASE.match(self.version)
        return carried[1] if self.branch and carried else ""

    @property
    def installed(self) -> bool:
        """Fully there."""
        return self.status == "installed"

    @property
    def broken(self) -> bool:
        """Neither there nor gone: an installation that was cut short."""
        return self.status not in {"installed", "config-files", "not-installed"}
