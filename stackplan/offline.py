"""The same plan for hosts that reach nothing: images under the names a bundle gives them, engines that ask no hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackplan.images import bundled


def offline(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of a site that is installed from a bundle; `origins` has where each image was. Twice is the same."""
    return {
        **plan,
        "services": [_service(each) for each in plan["services"]],
        "settings": _settings(plan["settings"]),
        "origins": {bundled(each["image"]): each["image"] for each in plan["services"]} | plan.get("origins", {}),
    }


def _service(service: Mapping[str, Any]) -> dict[str, Any]:
    found = {**service, "image": bundled(service["image"])}
    if service["kind"] == "engine":
        found["env"] = {**service["env"], "HF_HUB_OFFLINE": "1"}
    return found


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    router = {**settings["router"], "image": bundled(settings["router"]["image"])}
    models = [{**model, "weights_staged": True} for model in settings["models"]]
    return {**settings, "router": router, "models": models}
