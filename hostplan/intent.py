"""What an operator asks of a host's driver: the role's variables, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

NVIDIA_URL = "https://developer.download.nvidia.com/compute/cuda/repos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Defaults are those of the role `gpu_driver`, whose variables carry these names after its own."""

    version: str = "580"
    package_source: str = "auto"
    upstream_url: str = NVIDIA_URL
    from_bundle: bool = False
    mirror_url: str = ""
    mirror_suite: str = "./"
    mirror_components: tuple[str, ...] = ()
    mirror_keyring: str = ""
    debian_url: str = "http://deb.debian.org/debian"
    kernel_modules: str = "auto"
    generations: Mapping[str, str] | None = None
    fabric: str = "auto"
    hold_packages: bool = True
    hold_kernel: bool = True
    clean_broken: bool = False
    secure_boot: str = "refuse"
    reboot: bool = False
    drains: bool = False  # whether engines are drained and stopped before a restart
    change_with_engines: bool = False
    persistence: bool = True
    free_space_mib: int = 4096
    mig_layout: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Intent:
        """From a mapping with the role's names without its prefix; names that are none of them are ignored."""
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in said.items() if name in known
        }
        return cls(**values)
