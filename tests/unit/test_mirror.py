"""The repository of stand-in packages that scenarios install from: what apt reads of it is true."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("mirror_build", ROOT / "molecule/shared/mirror/build.py")
assert SPEC is not None
assert SPEC.loader is not None
mirror = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mirror)

LIST = """
packages:
  - name: tool
    versions: [1.0-1, 1.1-1]
    fields: {Depends: "library (= {version})"}
    files: {/usr/bin/tool: "#!/bin/sh\\necho {version}\\n"}
    scripts: {postinst: "#!/bin/sh\\n"}
"""


@pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed; every Debian and Ubuntu has it"
)
def test_every_version_becomes_a_package_that_the_index_describes(tmp_path: Path) -> None:
    """One .deb per version, its fields filled with that version, its digest in Packages, the index's in Release."""
    (tmp_path / "list.yml").write_text(LIST)
    mirror.main(tmp_path / "list.yml", tmp_path / "mirror")
    index = (tmp_path / "mirror/Packages").read_text()
    for version in ("1.0-1", "1.1-1"):
        deb = tmp_path / f"mirror/tool_{version}.deb"
        argv = ["dpkg-deb", "--field", str(deb), "Version", "Depends"]
        fields = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        assert fields == f"Version: {version}\nDepends: library (= {version})\n"
        assert f"SHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}" in index
    release = (tmp_path / "mirror/Release").read_text()
    assert f" {hashlib.sha256(index.encode()).hexdigest()} {len(index)} Packages" in release
