#!/usr/bin/python
"""Ansible module: keep the rendered files of a host as releases named by their content."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: compose_release
short_description: Keep the rendered files of a host as releases named by their content
description:
  - A release is the folder C(releases/<id>) under O(root).
    The id is made of the files, so the same files are the same release.
  - C(staged) writes it and shows what differs from the release in use. C(active) copies its C(config/) over the mounted
    copies, points C(current) at it and drops the oldest releases.
options:
  root: {description: Install root on the host., type: path, required: true}
  files: {description: Text by path below the release., type: dict, required: true}
  state: {description: How far to go., type: str, choices: [staged, active], required: true}
  keep: {description: Releases kept on disk., type: int, default: 3}
author: Ironrack
"""

RETURN = r"""
id: {description: Name of the release., type: str, returned: always}
path: {description: Its folder., type: str, returned: always}
new: {description: Whether another release is in use., type: bool, returned: always}
services:
  description: Folders of C(config/) whose mounted bytes differ from the release.
  type: list
  returned: always
"""


def release_id(files: dict[str, str]) -> str:
    """First 12 hex digits of a SHA-256 over paths and contents, in path order."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path}\0{len(files[path].encode())}\0{files[path]}".encode())
    return digest.hexdigest()[:12]


def read_tree(folder: Path) -> dict[str, str]:
    """Every file below a folder as text by relative path; an absent folder is empty."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def write_file(path: Path, text: str) -> None:
    """Replace a file in one step, readable by the containers' users."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as out:
        out.write(text)
    Path(name).chmod(0o644)
    Path(name).replace(path)


def stage(root: Path, name: str, files: dict[str, str]) -> bool:
    """Write a release beside the others, whole or not at all; whether it was not there yet."""
    target = root / "releases" / name
    if read_tree(target) == files:
        return False
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{name}."))
    fresh.chmod(0o755)
    for path, text in files.items():
        write_file(fresh / path, text)
    shutil.rmtree(target, ignore_errors=True)  # mostly there is none
    fresh.rename(target)
    return True


def differing(root: Path, files: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Mounted files that are not what the release says: (now, then) by path; an absent file is an empty text."""
    now = {f"config/{path}": text for path, text in read_tree(root / "config").items()}
    then = {path: text for path, text in files.items() if path.startswith("config/")}
    return {
        path: (now.get(path, ""), then.get(path, ""))
        for path in sorted(now.keys() | then.keys())
        if now.get(path) != then.get(path)
    }


def activate(root: Path, name: str, files: dict[str, str], keep: int) -> None:
    """Bring the mounted copies and `current` to the release, then drop what is too old."""
    for path in differing(root, files):
        if path in files:
            write_file(root / path, files[path])
        else:
            (root / path).unlink()
    link = root / ".current"
    link.unlink(missing_ok=True)
    link.symlink_to(f"releases/{name}")
    link.replace(root / "current")
    os.utime(root / "releases" / name)
    for old in surplus(root, name, keep):
        shutil.rmtree(old)


def surplus(root: Path, name: str, keep: int) -> list[Path]:
    """Releases beyond the newest `keep`; the one in use is never among them."""
    folders = sorted((root / "releases").iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    others = [path for path in folders if path.name != name and not path.name.startswith(".")]
    return others[max(keep - 1, 0) :] + [path for path in folders if path.name.startswith(".")]


def current(root: Path) -> str:
    """Name of the release in use, or an empty text."""
    link = root / "current"
    return link.readlink().name if link.is_symlink() else ""


def diff(root: Path, files: dict[str, str]) -> list[dict[str, str]]:
    """What Ansible shows under --diff: each file of the release in use against the new one."""
    before = read_tree(root / "releases" / current(root)) if current(root) else {}
    return [
        {"before_header": path, "after_header": path, "before": before.get(path, ""), "after": files.get(path, "")}
        for path in sorted(before.keys() | files.keys())
        if before.get(path) != files.get(path)
    ]


def run(root: Path, files: dict[str, str], state: str, keep: int, dry: bool) -> dict[str, Any]:
    """Do what `state` asks unless `dry`, and describe it."""
    name = release_id(files)
    paths = differing(root, files)
    new = current(root) != name
    result: dict[str, Any] = {
        "id": name,
        "path": str(root / "releases" / name),
        "services": sorted({path.split("/")[1] for path in paths}),
        "new": new,
        "changed": new or bool(state == "active" and paths),
    }
    if state == "staged":
        result["diff"] = diff(root, files)
    if not dry and state == "staged":
        result["changed"] = stage(root, name, files)
    elif not dry and result["changed"]:
        activate(root, name, files, keep)
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
            "state": {"choices": ["staged", "active"], "required": True},
            "keep": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )
    values = module.params
    module.exit_json(**run(Path(values["root"]), values["files"], values["state"], values["keep"], module.check_mode))


if __name__ == "__main__":
    main()
