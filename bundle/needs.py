"""What a plan needs of a bundle: images, weights, and packages for the releases of its hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from stackplan.images import bundled


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageNeed(_Frozen):
    """One image, who runs it where. `build`: made from this repository, not pulled."""

    reference: str
    local: str
    services: list[str] = []
    hosts: list[str] = []
    build: bool = False


class WeightsNeed(_Frozen):
    """One model or adapter by its source, and the hosts whose engines load it."""

    source: str
    revision: str = ""
    models: list[str]
    hosts: list[str]

    @property
    def name(self) -> str:
        """Source and revision as one name."""
        return f"{self.source}@{self.revision}" if self.revision else self.source


class PackagesNeed(_Frozen):
    """Packages that hosts of one platform install."""

    platform: str
    packages: list[str]
    hosts: list[str] = []


class Needs(_Frozen):
    """Everything together."""

    product: str
    images: list[ImageNeed] = []
    weights: list[WeightsNeed] = []
    packages: list[PackagesNeed] = []


def images(plan: Mapping[str, Any], extra: Iterable[str] = ()) -> list[ImageNeed]:
    """The images of all services and some more, each once, by name."""
    found: dict[str, ImageNeed] = {}
    origins = plan.get("origins", {})
    for service in plan["services"]:
        reference = origins.get(service["image"], service["image"])
        before = found.get(reference)
        found[reference] = ImageNeed(
            reference=reference,
            local=bundled(reference),
            services=_with(before.services if before else [], service["kind"]),
            hosts=_with(before.hosts if before else [], service["host"]),
            build=service["kind"] == "router" or (before.build if before else False),
        )
    hosts = [host["name"] for host in plan["hosts"]]
    for reference in extra:
        found.setdefault(reference, ImageNeed(reference=reference, local=bundled(reference), hosts=hosts))
    return [found[name] for name in sorted(found)]


def weights(plan: Mapping[str, Any]) -> list[WeightsNeed]:
    """The sources of all models and adapters, each once, by name."""
    found: dict[tuple[str, str], WeightsNeed] = {}
    for model in plan["settings"]["models"]:
        hosts = [service["host"] for service in plan["services"] if service.get("model") == model["name"]]
        sources = [(model["source"], model["revision"] or ""), *((each["source"], "") for each in model["adapters"])]
        for key in sources if hosts else []:
            before = found.get(key)
            found[key] = WeightsNeed(
                source=key[0],
                revision=key[1],
                models=_with(before.models if before else [], model["name"]),
                hosts=_with(before.hosts if before else [], *hosts),
            )
    return [found[key] for key in sorted(found)]


def packages(wanted: Mapping[str, Iterable[str]], hosts: Mapping[str, Sequence[str]]) -> list[PackagesNeed]:
    """Names of packages by platform, with the hosts of each platform."""
    return [
        PackagesNeed(platform=name, packages=sorted(set(wanted[name])), hosts=list(hosts.get(name, [])))
        for name in sorted(wanted)
    ]


def of_host(needs: Needs, host: str) -> Needs:
    """What one host needs."""
    return needs.model_copy(
        update={
            "images": [need for need in needs.images if host in need.hosts],
            "weights": [need for need in needs.weights if host in need.hosts],
            "packages": [need for need in needs.packages if host in need.hosts],
        }
    )


def _with(before: Sequence[str], *more: str) -> list[str]:
    return sorted({*before, *more})
