#!/usr/bin/python
"""Ansible module: load images of a bundle, and compare what Docker calls them with the manifest."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: bundle_images
short_description: Load images of a bundle, and compare what Docker calls them with the manifest
description:
  - An image is there when Docker has its name with one of the ids that the manifest lists.
  - An archive is removed once it is loaded. In check mode nothing is loaded.
options:
  images:
    description: Parts of the manifest, each with C(local), C(ids) and C(files).
    type: list
    elements: dict
    required: true
  archives: {description: Folder of the archives on the host., type: path}
author: Ironrack
"""

RETURN = r"""
missing: {description: Names of images that were not there., type: list, returned: always}
"""


def identity(name: str) -> str:
    """The id of a local image; an empty text when it is not here, or Docker is not."""
    try:
        done = subprocess.run(
            ["docker", "image", "inspect", "--format", "{{.Id}}", name], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def load(image: Mapping[str, Any], archives: Path) -> str:
    """Load one image and remove its archive; one sentence when that fails or something else came out of it."""
    path = archives / Path(image["files"][0]["path"]).name
    done = subprocess.run(["docker", "load", "--input", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{image['local']}: docker load: {done.stderr.strip()}: it must succeed; look at Docker's disk and log"
    found = identity(image["local"])
    if found not in image["ids"]:
        return (
            f"{image['local']}: id {found or 'none'} was loaded: {' or '.join(image['ids'])} is expected; "
            "stage the bundle again"
        )
    path.unlink()
    return ""


def run(images: Sequence[Mapping[str, Any]], archives: Path | None, dry: bool) -> dict[str, Any]:
    """Load what is missing unless `dry`."""
    missing = [image for image in images if identity(image["local"]) not in image["ids"]]
    problems = [load(image, archives) for image in missing] if archives and not dry else []
    return {"missing": [image["local"] for image in missing], "problems": [text for text in problems if text]}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "images": {"type": "list", "elements": "dict", "required": True},
            "archives": {"type": "path"},
        },
        supports_check_mode=True,
    )
    archives = module.params["archives"]
    found = run(module.params["images"], Path(archives) if archives else None, module.check_mode)
    if found["problems"]:
        module.fail_json(msg="\n".join(found["problems"]), **found)
    module.exit_json(changed=bool(found["missing"]), **found)


if __name__ == "__main__":
    main()
