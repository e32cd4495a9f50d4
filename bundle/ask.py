"""From a plan and an inventory to what is asked of a bundle: plain data in, plain data out, as roles need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bundle import needs, platforms
from bundle.needs import Needs
from bundle.request import Request

MEMBERS = ("edge", "engines", "observe")


def hosts_by_platform(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]], otherwise: str
) -> dict[str, list[str]]:
    """The stack's hosts by what they say of themselves in `bundle_platform`, else by `otherwise`."""
    found: dict[str, list[str]] = {}
    for name in groups.get("all", []):
        if any(name in groups.get(group, []) for group in MEMBERS):
            found.setdefault(str(hostvars[name].get("bundle_platform") or otherwise), []).append(name)
    return found


def request(
    plan: Mapping[str, Any], product: str, hosts: Mapping[str, Sequence[str]], options: Mapping[str, Any]
) -> Any:
    """What playbooks/stage.yml fetches, as JSON carries it; raises BundleError for platforms that are not known."""
    wanted = platforms.platforms(
        hosts,
        options["packages"],
        options["controller_platform"],
        options["mirrors"],
        options["package_sources"],
        with_gpus=options["gpus"],
    )
    return Request(
        needs=Needs(product=product, images=needs.images(plan, options["images"]), weights=needs.weights(plan)),
        platforms=wanted if options["packages_enabled"] else [],
        wheels_groups=options["wheels_groups"],
        weights_paths=options["weights_paths"],
        weights_exclude=options["weights_exclude"],
        hub_url=options["hub_url"],
        refresh=options["refresh"],
    ).model_dump(mode="json")


def wanted(
    plan: Mapping[str, Any], product: str, hosts: Mapping[str, Sequence[str]], options: Mapping[str, Any]
) -> Any:
    """What a site needs, as JSON carries it. Platforms that are not known need nothing that could be checked."""
    known = {name: list(each) for name, each in hosts.items() if platforms.known(name)}
    names = (
        platforms.wanted(known, options["packages"], "", _known(options["gpus"])) if options["packages_enabled"] else {}
    )
    return Needs(
        product=product,
        images=needs.images(plan, options["images"]),
        weights=needs.weights(plan),
        packages=needs.packages(names, known),
    ).model_dump(mode="json")


def parts_of_host(checked: Mapping[str, Any], wanted: Mapping[str, Any], host: str) -> dict[str, list[dict[str, Any]]]:
    """The manifest's parts that one host needs, by kind."""
    mine = needs.of_host(Needs.model_validate(wanted), host)
    names = {("image", need.reference) for need in mine.images} | {("weights", need.name) for need in mine.weights}
    names |= {("packages", need.platform) for need in mine.packages}
    parts = [part for part in checked.get("parts", []) if (part["kind"], part["name"]) in names]
    return {kind: [part for part in parts if part["kind"] == kind] for kind in ("image", "packages", "weights")}


def below(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of a part by their path below its folder, as hosts get them."""
    folder = part.get("folder") or "images"
    return [
        {"path": file["path"].removeprefix(f"{folder}/"), "sha256": file["sha256"], "bytes": file["bytes"]}
        for file in part["files"]
    ]


def arriving(parts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Bytes of weights by their source in the plan."""
    return {part["name"].split("@")[0]: sum(file["bytes"] for file in part["files"]) for part in parts}


def _known(by_platform: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in by_platform.items() if platforms.known(name)}
