"""What differs between machines, written where the demo inventory reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from demo.catalogue import RECIPES
from demo.images import Images
from demo.paths import LOCAL_SETTINGS, ROOT

HEADER = "# Written by scripts/up for this machine; scripts/down removes it.\n"


def settings(images: Images, model: Mapping[str, str], port: int) -> dict[str, Any]:
    """Variables of the demo inventory; official images are its defaults and are left out."""
    production = {recipe.name: recipe.production for recipe in RECIPES}
    local = {name: image for name, image in images.references.items() if image != production[name]}
    found: dict[str, Any] = {"demo_port": port, "demo_model": dict(model), "demo_images": local}
    if images.python_base:
        arguments = {"PYTHON_IMAGE": images.python_base}
        found["demo_router_build"] = {"context": str(ROOT), "dockerfile": "router/Dockerfile", "args": arguments}
    return found


def write(values: Mapping[str, Any]) -> None:
    """Write local.yml, only when its content changes."""
    text = HEADER + yaml.safe_dump(dict(values), sort_keys=False)
    if not LOCAL_SETTINGS.exists() or LOCAL_SETTINGS.read_text(encoding="utf-8") != text:
        LOCAL_SETTINGS.write_text(text, encoding="utf-8")
