"""What every host is asked, with GPUs or without: system, clock, containers, images, disk, network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostplan.platforms import SUPPORTED, Platform
from hostplan.preflight import want
from hostplan.preflight.finding import Finding, Level, ok, refused, skipped, warning
from hostplan.preflight.versions import within

Facts = Mapping[str, Any]
GIB = 2**30
SKEW_SECONDS = 5.0  # certificates, keys with an end and rates over hosts bear a few seconds, not more
SKEW_MOST = 60.0
_IMAGE_BYTES = {"engine with GPUs": 25 * GIB, "engine": 4 * GIB}  # unpacked; others are small
_IMAGE_OTHER = GIB // 2
_RESERVE = 5 * GIB
_NAMES = {"debian": "Debian", "ubuntu": "Ubuntu"}


def system(facts: Facts) -> list[Finding]:
    """Distribution, kernel, processor, and a reboot that somebody waits for."""
    mine = facts["system"]
    version = mine["version"] if mine["os"] == "ubuntu" else mine["version"].split(".")[0]
    platform = Platform(_NAMES.get(mine["os"], mine["os"]), version, mine["kernel"], mine["machine"])
    found: list[Finding] = []
    if not platform.supported:
        what = f"{mine['name'] or mine['os'] or 'an unknown system'} on {mine['machine']} was found"
        found.append(refused("system", what, f"supported are {', '.join(SUPPORTED)}", "install one of them"))
    if not within(mine["kernel"], ">=5.15"):
        found.append(
            refused("system", f"kernel {mine['kernel']} was found", "5.15 or newer is needed", "boot a newer kernel")
        )
    if mine["reboot_required"]:
        found.append(
            warning(
                "system",
                "/run/reboot-required was found",
                "what was upgraded is not running yet",
                "drain this host and restart it before a driver or kernel meets the old one",
            )
        )
    return found or [ok("system", f"{mine['name']}, kernel {mine['kernel']}")]


def clock(facts: Facts) -> list[Finding]:
    """This host's time beside the controller's."""
    mine = facts["clock"]
    skew = skew_of(mine)
    text = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the controller"
    allowed = f"at most {SKEW_SECONDS:g} s are allowed, and other hosts are compared with the same clock"
    remedy = "install chrony or systemd-timesyncd and let it run"
    if abs(skew) > SKEW_MOST:
        return [refused("clock", text, allowed, remedy)]
    if abs(skew) > SKEW_SECONDS:
        return [warning("clock", text, allowed, remedy)]
    if mine["synchronised"] == "no":
        return [warning("clock", "no time service keeps this clock", "hosts drift apart by seconds a week", remedy)]
    return [ok("clock", f"within {SKEW_SECONDS:g} s of the controller's")]


def skew_of(mine: Mapping[str, Any]) -> float:
    """Seconds this clock is ahead of the controller's (behind: below 0), as far as it is proven.

    The host read its clock between question and answer, and a busy controller takes its time for both: a reading that
    lies between them proves no difference. Without `answered_at` the answer is taken to have come at once.
    """
    ahead_of_question = float(mine["at"] - mine["asked_at"])
    ahead_of_answer = float(mine["at"] - mine.get("answered_at", mine["asked_at"]))
    return max(ahead_of_answer, 0.0) or min(ahead_of_question, 0.0)


def skews(facts: Mapping[str, Facts]) -> dict[str, float]:
    """Seconds by which each host's clock is ahead of the controller's."""
    return {host: skew_of(each["clock"]) for host, each in facts.items()}


def between(facts: Mapping[str, Facts]) -> dict[str, Finding]:
    """Hosts whose clocks differ from the middle one's by more than is allowed; each may be near enough to ours."""
    all_skews = skews(facts)
    middle = sorted(all_skews.values())[len(all_skews) // 2] if all_skews else 0.0
    return {
        host: warning(
            "clock",
            f"{abs(skew - middle):.1f} s away from the other hosts",
            f"at most {SKEW_SECONDS:g} s are allowed",
            "let one time service keep all of them",
        )
        for host, skew in all_skews.items()
        if abs(skew - middle) > SKEW_SECONDS
    }


def images(plan: want.Plan, host: str, facts: Facts) -> list[Finding]:
    """Images that are not here: is there room for them, and does somebody give them?"""
    mine = want.services(plan, host)
    missing = [each for each in mine if not facts["images"].get(each["image"], {}).get("present")]
    names = list(dict.fromkeys(each["image"] for each in missing))
    if not names:
        return [ok("images", f"all {len({each['image'] for each in mine})} are on this host")]
    found = _room_for_images(missing, facts)
    if want.from_bundle(plan):
        return found or [ok("images", f"{len(names)} to come from the bundle")]
    pulled = [each for each in missing if not each.get("build")]
    for registry in want.registries(pulled):
        answer = _answer(facts, f"https://{registry}/v2/")
        if not answer["ok"]:
            few = dict.fromkeys(
                each["image"].split("@")[0] for each in pulled if want.registry(each["image"]) == registry
            )
            found.append(
                warning(
                    "images",
                    f"{', '.join(few)}: not on this host, and {registry} does not answer ({answer['why']})",
                    "a deployment pulls them unless Docker has a mirror or proxy of its own",
                    "let the host reach it, set a mirror, or install from a bundle",
                )
            )
    return found or [ok("images", f"{len(names)} to come, their registries answer")]


def _room_for_images(missing: list[want.Service], facts: Facts) -> list[Finding]:
    """No room stops a deployment; little beside it is a warning: layers and logs come on top."""
    room = facts["disk"]["docker"]
    need = sum({each["image"]: _image_bytes(each) for each in missing}.values())
    if room["free_bytes"] >= need + _RESERVE:
        return []
    judge = refused if room["free_bytes"] < need else warning
    return [
        judge(
            "disk",
            f"{room['free_bytes'] / GIB:.0f} GiB free below {room['path']}",
            f"images that are not here yet take about {need / GIB:.0f} GiB unpacked and {_RESERVE / GIB:.0f} to spare",
            "make room, or set docker_data_root",
        )
    ]


def _image_bytes(service: want.Service) -> int:
    kind = "engine with GPUs" if service["kind"] == "engine" and service["gpus"] else service["kind"]
    return _IMAGE_BYTES.get(kind, _IMAGE_OTHER)


def weights(plan: want.Plan, host: str, facts: Facts) -> list[Finding]:
    """Weights that are not here: does the hub answer? What is staged or a folder is checked by the role engine."""
    mine = want.engines(plan, host)
    if not mine:
        return []
    coming = [
        want.model_of(plan, each)["source"]
        for each in mine
        if want.fetches(plan, each)
        and facts["models"].get(want.model_of(plan, each)["source"], {}).get("config") is None
    ]
    if not coming:
        return [ok("weights", "nothing to fetch")]
    hub = want.hubs(plan, host)[0]
    answer = _answer(facts, hub)
    if answer["ok"]:
        return [ok("weights", f"to come from {hub}, which answers: {', '.join(dict.fromkeys(coming))}")]
    return [
        refused(
            "weights",
            f"{', '.join(dict.fromkeys(coming))}: not on this host, and {hub} does not answer ({answer['why']})",
            "an engine fetches them when it starts",
            "let the host reach the hub, or copy the weights and set weights_staged: true",
        )
    ]


def network(facts: Facts) -> list[Finding]:
    """Other hosts, by the addresses that services will use."""
    mine = facts["network"]["peers"]
    silent = [
        refused(
            "network",
            f"{each['host']} does not answer at {each['address']} ({each['why']})",
            "hosts must reach each other at their stack_address",
            "correct stack_address, the route, or the firewall between them",
        )
        for each in mine
        if not each["ok"]
    ]
    if not mine:
        return [skipped("network", "talks to no other host")]
    return silent or [ok("network", f"reaches {', '.join(each['host'] for each in mine)}")]


def containers(facts: Facts) -> list[Finding]:
    """Docker, as far as it is there; what keeps it from being installed is said by its role."""
    mine = facts["containers"]
    if not mine["docker"]:
        return [skipped("docker", "not here yet: playbooks/prepare.yml installs it")]
    return [ok("docker", f"Docker {mine['docker']}")]


def of_role(role: str, problems: list[str], host: str) -> list[Finding]:
    """What a role's own check said, in its words."""
    return [Finding(role, Level.REFUSED, text.removeprefix(f"{host}: ").removeprefix(f"{role}: ")) for text in problems]


def _answer(facts: Facts, url: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next((each for each in facts["network"]["urls"] if each["url"] == url), {})
    return found or {"ok": False, "why": "not asked"}
