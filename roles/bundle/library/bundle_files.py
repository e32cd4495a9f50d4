#!/usr/bin/python
"""Ansible module: the host's half of `bundle_files`: what differs from its sums, and putting what arrived in place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: bundle_files
short_description: Bring files of a bundle to a host, each compared with its sum
description:
  - Compares what lies on the host with sums and sizes, copies what differs, compares that too, then puts it in place.
  - A file that was compared once is not read again while its size and time stay the same.
options:
  source: {description: Folder on the controlling machine., type: path, required: true}
  root: {description: Folder on the host., type: path, required: true}
  files:
    description: What belongs there, each with C(path), C(sha256) and C(bytes).
    type: list
    elements: dict
    required: true
  stamp: {description: Where the host remembers what was compared., type: path, required: true}
  purge: {description: Remove what does not belong there., type: bool, default: false}
  step: {description: Set by the action itself., type: str, choices: [compare, place], default: compare}
  arrived: {description: Set by the action itself., type: list, elements: str, default: []}
author: Ironrack
"""

RETURN = r"""
differing: {description: Paths that are missing or differ., type: list, returned: always}
strays: {description: Paths that do not belong there, with C(purge)., type: list, returned: always}
problem: {description: Why what is missing does not fit, or an empty text., type: str, returned: always}
"""

INCOMING = ".incoming"
RESERVE_BYTES = 2**30


def sha256(path: Path) -> str:
    """SHA-256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as data:
        while piece := data.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def remembered(stamp: Path) -> dict[str, list[Any]]:
    """Size, time and sum of files that were compared before; a damaged memory is no memory."""
    try:
        found = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def compare(root: Path, files: Sequence[Mapping[str, Any]], memory: dict[str, list[Any]]) -> list[str]:
    """Paths that are missing or are not what they should be; `memory` is brought up to date."""
    differing = []
    for file in files:
        path = root / file["path"]
        try:
            seen = path.stat()
        except OSError:
            differing.append(file["path"])
            continue
        known = memory.get(str(path), [])
        if known[:2] != [seen.st_size, seen.st_mtime_ns]:
            known = [seen.st_size, seen.st_mtime_ns, sha256(path) if seen.st_size == file["bytes"] else ""]
        memory[str(path)] = known
        if known[2] != file["sha256"]:
            differing.append(file["path"])
    return differing


def strays(root: Path, files: Sequence[Mapping[str, Any]]) -> list[str]:
    """Files below a folder that do not belong there."""
    known = {file["path"] for file in files}
    found = (path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file())
    return [path for path in found if path not in known and not path.startswith(f"{INCOMING}/")]


def lack_of_room(root: Path, missing: int) -> str:
    """One sentence where so many bytes do not fit, else an empty text."""
    folder = root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if not missing or missing + RESERVE_BYTES <= free:
        return ""
    return (
        f"bundle: {root}: {free / 2**30:.1f} GiB free: {missing / 2**30:.1f} GiB are to come and 1 GiB stays free; "
        "make room, or point stack_engines.cache_directory to a larger disk"
    )


def prepare(root: Path) -> None:
    """An empty folder for what arrives, open to whoever this connection logs in as and to nobody else."""
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    incoming = root / INCOMING
    shutil.rmtree(incoming, ignore_errors=True)  # mostly there is none
    incoming.mkdir(mode=0o700)
    if "SUDO_UID" in os.environ:
        os.chown(incoming, int(os.environ["SUDO_UID"]), -1)


def place(root: Path, files: Sequence[Mapping[str, Any]], arrived: Sequence[str]) -> list[str]:
    """Put what arrived in place, file by file; return a sentence for each that is not what was sent."""
    by_path = {file["path"]: file for file in files}
    problems = []
    for number, name in enumerate(arrived):
        found, expected = sha256(root / INCOMING / str(number)), by_path[name]["sha256"]
        if found != expected:
            problems.append(f"{root / name}: sha256 {found} arrived: {expected} is expected; look at disk and network")
            continue
        target = root / name
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = root / INCOMING / str(number)
        with contextlib.suppress(PermissionError):  # not root: whoever copied it is this user
            os.chown(fresh, os.geteuid(), os.getegid())
        fresh.chmod(0o644)
        fresh.replace(target)
    shutil.rmtree(root / INCOMING, ignore_errors=True)  # all of it has arrived
    return problems


def remember(stamp: Path, memory: Mapping[str, Any]) -> None:
    """Keep what was compared, in one step; files that are gone are forgotten."""
    kept = {path: value for path, value in memory.items() if os.path.exists(path)}
    text = json.dumps(kept, sort_keys=True)
    if stamp.exists() and stamp.read_text() == text:
        return
    stamp.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = stamp.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(stamp)


def run(values: Mapping[str, Any], dry: bool) -> dict[str, Any]:
    """One step: compare, or place what arrived and compare again."""
    root, stamp, files = Path(values["root"]), Path(values["stamp"]), values["files"]
    problems = place(root, files, values["arrived"]) if values["step"] == "place" else []
    memory = remembered(stamp)
    differing = compare(root, files, memory)
    extra = strays(root, files) if values["purge"] and root.exists() else []
    missing = sum(file["bytes"] for file in files if file["path"] in differing)
    if not dry:
        for name in extra:
            (root / name).unlink()
        if differing and values["step"] == "compare":
            prepare(root)
        remember(stamp, memory)
    return {"differing": differing, "strays": extra, "problem": lack_of_room(root, missing), "problems": problems}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "root": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "dict", "required": True},
            "stamp": {"type": "path", "required": True},
            "purge": {"type": "bool", "default": False},
            "step": {"choices": ["compare", "place"], "default": "compare"},
            "arrived": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    found = run(module.params, module.check_mode)
    if found["problems"] or (found["problem"] and not module.check_mode):
        module.fail_json(msg="\n".join([*found["problems"], found["problem"]]).strip(), **found)
    module.exit_json(changed=bool(found["differing"] or found["strays"]), **found)


if __name__ == "__main__":
    main()
