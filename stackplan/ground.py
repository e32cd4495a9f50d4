"""What every service is built from, and how a container is asked whether it works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stackplan.model import LOOPBACK, Host, Mount
from stackplan.settings import Settings

GRACE_SECONDS = 30  # between a service's own deadline and the container's end
ALL = ("ALL",)


@dataclass(frozen=True, slots=True)
class Ground:
    """What every service is built from."""

    settings: Settings
    hosts: Sequence[Host]
    root: str

    def in_group(self, group: str) -> list[Host]:
        """The hosts of one group, in the inventory's order."""
        return [host for host in self.hosts if group in host.groups]

    def watched_from_elsewhere(self, host: Host) -> bool:
        """Whether a Prometheus on another host must reach this one."""
        return any(other.name != host.name for other in self.in_group("observe"))

    def inside(self, host: Host) -> str:
        """The narrowest address on which a service of this host can be scraped."""
        return host.address if self.watched_from_elsewhere(host) else LOOPBACK

    def heard(self, host: Host) -> str:
        """The narrowest address on which whoever must know a router's load can ask for it."""
        gossip = self.settings.router.gossip and len(self.in_group("edge")) > 1
        return host.address if gossip else self.inside(host)

    def config(self, service: str, target: str) -> Mount:
        """The service's configuration folder: the folder, since a file mount keeps showing the old file."""
        return Mount(target, f"{self.root}/config/{service}")


def reachable(address: str) -> str:
    """An address to dial for one that is listened on."""
    return LOOPBACK if address == "0.0.0.0" else address


def python_get(url: str) -> list[str]:
    """A health check for images that have Python."""
    return ["CMD", "python3", "-c", f"import urllib.request as u; u.urlopen('{url}', timeout=4)"]


def wget(url: str) -> list[str]:
    """A health check for images that have wget."""
    return ["CMD", "wget", "-q", "-O", "/dev/null", url]


def wget_guarded(url: str) -> list[str]:
    """The same where a password is asked for, which a health check must not know: to be asked for it is an answer."""
    return ["CMD-SHELL", f"wget -S -O /dev/null {url} 2>&1 | grep -q -E 'HTTP/1.. (200|401)'"]
