"""What apt is told: where packages come from, which versions are allowed, what nothing may upgrade on its own."""

from __future__ import annotations

from hostplan.intent import Intent
from hostplan.platforms import Platform
from hostplan.versions import Version

KEYRING = "/etc/apt/keyrings/ironrack-nvidia.asc"
MANAGED = "# Managed by Ironrack: edit the inventory, not this file.\n"
# apt takes globs here, not lists of what to leave out: libnvidia-container* must not match.
_DRIVER = (
    "nvidia-alternative* nvidia-compute-utils* nvidia-dkms* nvidia-driver* nvidia-fabricmanager* nvidia-firmware* "
    "nvidia-headless* nvidia-imex* nvidia-kernel* nvidia-legacy* nvidia-open* nvidia-smi nvidia-utils* nvidia-vdpau* "
    "cuda-drivers* firmware-nvidia-* libcuda1* libcudadebugger1* libnvcuvid1* libnvidia-[!c]* libnvidia-c[!o]* "
    "libnvidia-com* libnvsdm* xserver-xorg-video-nvidia*"
)
_HELPERS = "nvidia-modprobe nvidia-persistenced nvidia-settings nvidia-xconfig"
# Regular expressions of unattended-upgrades, matched from the beginning of a name.
_NEVER_ALONE = {
    "driver": ["nvidia-", "libnvidia-", "cuda-drivers", "libcuda1", "libnvsdm", "nvlsm", "linux-modules-nvidia-"],
    "containers": ["docker", "containerd", "runc"],
    "kernel": ["linux-image-", "linux-headers-", "linux-modules-", "linux-generic", "linux-virtual"],
}


def preferences(platform: Platform, intent: Intent) -> str:
    """Only the branch or release asked for, from the source asked for. The first paragraph that fits counts."""
    version = Version.of(intent.version)
    names = _DRIVER if intent.package_source == "distro" else f"{_DRIVER} {_HELPERS}"
    rules = [("release o=" + platform.distribution, -1)] if intent.package_source == "upstream" else []
    if intent.package_source == "distro":
        rules = [("origin developer.download.nvidia.com", -1)]
    # Above 1000 also goes back to an older release of the branch when that is what was asked for.
    rules += [(f"version {version.pattern}", 1001), ("version /^[0-9][0-9][0-9][.]/", -1)]
    return MANAGED + "\n".join(f"Package: {names}\nPin: {pin}\nPin-Priority: {rank}\n" for pin, rank in rules)


def sources(platform: Platform, intent: Intent) -> str:
    """The deb822 text of the package sources; empty where what apt knows already is enough."""
    if intent.from_bundle:
        return ""
    if intent.package_source == "mirror":
        return MANAGED + _mirror(intent)
    if platform.distribution == "Debian":
        own = _paragraph(intent.debian_url, platform.codename, _debian_components(intent), _debian_keyring())
        return MANAGED + (own if intent.package_source == "distro" else _upstream(platform, intent) + "\n" + own)
    return MANAGED + _upstream(platform, intent) if intent.package_source == "upstream" else ""


def _debian_components(intent: Intent) -> str:
    # NVIDIA's own packages for Debian lean on a few of contrib.
    return "contrib" if intent.package_source == "upstream" else "contrib non-free non-free-firmware"


def _debian_keyring() -> str:
    return "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"


def key_url(platform: Platform, intent: Intent) -> str:
    """Where the key of NVIDIA's repository is; empty for the other sources."""
    if intent.package_source != "upstream" or intent.from_bundle:
        return ""
    return f"{intent.upstream_url}/{platform.repository}/{platform.repository_key}"


def _upstream(platform: Platform, intent: Intent) -> str:
    return _paragraph(f"{intent.upstream_url}/{platform.repository}", "/", "", f"Signed-By: {KEYRING}")


def _mirror(intent: Intent) -> str:
    trust = f"Signed-By: {intent.mirror_keyring}" if intent.mirror_keyring else "Trusted: yes"
    return _paragraph(intent.mirror_url, intent.mirror_suite, " ".join(intent.mirror_components), trust)


def _paragraph(url: str, suite: str, components: str, trust: str) -> str:
    parts = f"Components: {components}\n" if components else ""
    return f"Types: deb\nURIs: {url}\nSuites: {suite}\n{parts}{trust}\n"


def never_alone(*, kernel: bool) -> str:
    """Configuration of unattended-upgrades: what it must leave to an operator."""
    groups = [names for group, names in _NEVER_ALONE.items() if kernel or group != "kernel"]
    lines = "".join(f'  "{name}";\n' for names in groups for name in names)
    head = MANAGED.replace("#", "//", 1)
    return f"{head}Unattended-Upgrade::Package-Blacklist {{\n{lines}}};\n"
