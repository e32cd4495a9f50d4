"""What playbooks/stage.yml asks for, as the role `stage` hands it over."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from bundle.needs import Needs, PackagesNeed


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Frozen):
    """One package source. `key`: a keyring of this machine, an address to fetch it from, or none: trusted.

    `only`: take these packages from it and no others.
    """

    uris: str
    suites: str
    components: str = ""
    key: str
    only: list[str] = []


class Platform(_Frozen):
    """Packages for one release, where they come from, and what apt is told to prefer among them."""

    need: PackagesNeed
    sources: list[Source]
    preferences: str = ""


class Request(_Frozen):
    """Everything to stage. `weights_paths`: where folders that the plan names lie on this machine."""

    needs: Needs
    platforms: list[Platform] = []
    wheels_groups: list[str] = []
    weights_paths: dict[str, str] = {}
    weights_exclude: list[str] = []
    hub_url: str = "https://huggingface.co"
    refresh: bool = False


def asked(question: Any) -> str:
    """A short sum over a question: the same question has the same one."""
    return hashlib.sha256(json.dumps(question, sort_keys=True, default=str).encode()).hexdigest()[:16]
