#!/usr/bin/env python3
"""Build a small apt repository of stand-in packages from a YAML list: apt, pins, holds and scripts are then really run.

    build.py packages.yml FOLDER

    packages:
      - name: nvidia-container-toolkit
        version: 1.18.2-1                       # or versions: [..]: one package for each; {version} is replaced below
        fields: {Depends: "x (= {version})"}    # any field of debian/control
        files: {/usr/bin/tool: "#!/bin/sh\n"}   # a text that begins with #! becomes executable
        scripts: {postinst: "#!/bin/sh\n"}

The repository is flat and unsigned: `deb [trusted=yes] file:///srv/mirror ./`. Its Release names the origin
`Ironrack-Mirror`.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

DEFAULTS = {
    "Architecture": "all",
    "Maintainer": "Ironrack <root@localhost>",
    "Section": "admin",
    "Priority": "optional",
}
RELEASE = (
    "Origin: Ironrack-Mirror\nLabel: Ironrack-Mirror\nSuite: stable\nCodename: mirror\nArchitectures: amd64 arm64\n"
)


def versions(package: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One package for each of its versions, with `{version}` replaced in every text."""
    for version in package.get("versions") or [package["version"]]:
        yield {**_filled(package, str(version)), "version": str(version)}


def _filled(value: Any, version: str) -> Any:
    if isinstance(value, str):
        return value.replace("{version}", version)
    if isinstance(value, Mapping):
        return {_filled(key, version): _filled(item, version) for key, item in value.items()}
    return [_filled(item, version) for item in value] if isinstance(value, list) else value


def control(package: Mapping[str, Any]) -> str:
    """The control file of one package."""
    fields = {"Package": package["name"], "Version": package["version"], **DEFAULTS, **package.get("fields", {})}
    return "".join(f"{key}: {value}\n" for key, value in fields.items()) + "Description: stand-in of the test mirror\n"


def _write(root: Path, name: str, text: str) -> None:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755 if text.startswith("#!") else 0o644)


def build(package: Mapping[str, Any], folder: Path) -> Path:
    """One .deb in `folder`; raises CalledProcessError when dpkg-deb refuses it."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        _write(root, "DEBIAN/control", control(package))
        for name, text in package.get("scripts", {}).items():
            _write(root, f"DEBIAN/{name}", text)
        for name, text in package.get("files", {}).items():
            _write(root, name, text)
        root.chmod(0o755)
        target = folder / f"{package['name']}_{package['version'].replace(':', '%3a')}.deb"
        argv = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(root), str(target)]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return target


def index(package: Mapping[str, Any], deb: Path) -> str:
    """The package's paragraph in the file Packages."""
    data = deb.read_bytes()
    found = f"Filename: ./{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    return control(package) + found


def main(spec: Path, folder: Path) -> None:
    """Build everything the list names; what the folder held before is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = [one for package in yaml.safe_load(spec.read_text())["packages"] for one in versions(package)]
    packages = "\n".join(index(one, build(one, folder)) for one in listed)
    (folder / "Packages").write_text(packages, encoding="utf-8")
    digest = hashlib.sha256(packages.encode()).hexdigest()
    release = f"{RELEASE}Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {digest} {len(packages)} Packages\n"
    (folder / "Release").write_text(release, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
