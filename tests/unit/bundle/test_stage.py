"""Filling a bundle: what is whole is not fetched again, what broke off is finished, what nobody wants goes."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle import __main__ as program
from bundle import ask, index, platforms, stage_images, stage_packages
from bundle.folder import Folder
from bundle.manifest import BundleError, File, Image, Manifest
from bundle.needs import Needs
from bundle.request import Request, Source

ROOT = Path(__file__).resolve().parents[3]
MIRRORS = yaml.safe_load((ROOT / "roles/bundle/defaults/main.yml").read_text())["bundle_mirrors"]
SUM = hashlib.sha256(b"abc").hexdigest()


def _image(name: str, data: bytes = b"abc") -> Image:
    file = File(path=f"images/{name}.tar", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), source="x")
    return Image(name=name, local=name, purpose="", asked="q", files=[file], ids=[f"sha256:{SUM}"])


def _bundle(root: Path, *names: str) -> Folder:
    folder = Folder(root, Manifest(product="1"))
    (root / "images").mkdir()
    for name in names:
        (root / "images" / f"{name}.tar").write_bytes(b"abc")
        folder.add(_image(name))
    return folder


def test_part_counts_only_while_every_file_is_whole(tmp_path: Path) -> None:
    """Asked in the same words, and not a byte changed since."""
    folder = _bundle(tmp_path, "a")
    assert folder.has("image", "a", "q")
    assert not folder.has("image", "a", "another question")
    (tmp_path / "images" / "a.tar").write_bytes(b"abd")
    assert not Folder(tmp_path, Manifest(product="1")).has("image", "a", "q")


def test_finished_bundle_holds_what_was_asked_for_and_nothing_else(tmp_path: Path) -> None:
    """Parts of an earlier inventory and leftovers of a broken run are removed, empty folders too."""
    folder = _bundle(tmp_path, "a", "b")
    (folder.scratch("images") / "half.tar").write_bytes(b"x")
    assert folder.sweep([("image", "a")]) == [".unfinished/images/half.tar", "images/b.tar"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "images", "manifest.json"]
    folder.verify()


def test_finish_names_every_damaged_file(tmp_path: Path) -> None:
    """A bundle that was filled wrongly does not leave the building."""
    folder = _bundle(tmp_path, "a", "b")
    for name in ("a", "b"):
        (tmp_path / "images" / f"{name}.tar").write_bytes(b"")
    with pytest.raises(BundleError) as error:
        folder.verify()
    assert len(error.value.problems) == 2


def test_check_finds_what_is_missing_and_what_is_damaged_at_once(tmp_path: Path) -> None:
    """One image is not there, the other is not what it was."""
    _bundle(tmp_path, "a")
    (tmp_path / "images" / "a.tar").write_bytes(b"abd")
    wanted = {"product": "1", "images": [{"reference": name, "local": name, "hosts": ["h"]} for name in ("a", "b")]}
    found = program.check(tmp_path, Needs.model_validate(wanted))
    assert len(found["problems"]) == 2
    assert f"sha256 {SUM}" in found["problems"][1]


def test_check_without_a_bundle_says_where_it_looked(tmp_path: Path) -> None:
    """No traceback for a disk that was not mounted."""
    found = program.check(tmp_path / "nowhere", Needs(product="1"))
    assert [str(tmp_path / "nowhere" / "manifest.json") in line for line in found["problems"]] == [True]


@pytest.mark.parametrize("modern", [True, False])
def test_image_archive_tells_the_ids_docker_will_use(tmp_path: Path, modern: bool) -> None:
    """The configuration's sum, and where the archive has one the manifest's: stores name images by either."""
    config = json.dumps({"config": {"Labels": {"ironrack.sources": "s1"}}}).encode()
    digest = hashlib.sha256(config).hexdigest()
    path = f"blobs/sha256/{digest}" if modern else f"{digest}.json"
    members = {"manifest.json": json.dumps([{"Config": path}]).encode(), path: config}
    if modern:
        members["index.json"] = json.dumps({"manifests": [{"digest": "sha256:" + "2" * 64}]}).encode()
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    ids, sources = stage_images.described(tmp_path / "x.tar")
    assert set(ids) == {f"sha256:{digest}"} | ({"sha256:" + "2" * 64} if modern else set())
    assert sources == "s1"


def test_packages_of_the_role_docker_are_staged() -> None:
    """What the role would install from the distribution is what the bundle holds."""
    known = yaml.safe_load((ROOT / "roles/docker/vars/main.yml").read_text())["__docker_distro_packages"]
    assert {name.lower(): tuple(packages) for name, packages in known.items()} == platforms.DOCKER


def test_platforms_that_nobody_knows_are_named() -> None:
    """All of them, with those that are known."""
    with pytest.raises(BundleError) as error:
        platforms.platforms({"debian-11-amd64": [], "plan9": []}, {}, "debian-12-amd64", MIRRORS)
    assert len(error.value.problems) == 2


def test_more_packages_and_sources_go_where_they_are_said_to() -> None:
    """To every platform, to one, or not at all; the controlling machine gets what bootstrap asks for."""
    more = {"all": ["chrony"], "debian-13-amd64": ["nvtop"]}
    gpu = {"uris": "https://x", "suites": "/", "key": "https://x/key", "platforms": ["debian-13-amd64"]}
    found = {
        each.need.platform: each
        for each in platforms.platforms(
            {"debian-12-amd64": ["a"], "debian-13-amd64": ["b"]}, more, "debian-12-amd64", MIRRORS, [gpu]
        )
    }
    assert {"chrony", "python3-venv"} <= set(found["debian-12-amd64"].need.packages)
    assert {"chrony", "nvtop"} <= set(found["debian-13-amd64"].need.packages)
    assert "python3-venv" not in found["debian-13-amd64"].need.packages
    assert [source.uris for source in found["debian-13-amd64"].sources][-1] == "https://x"
    assert [source.only for source in found["debian-12-amd64"].sources if source.only] == [["docker-compose"]]


def test_hosts_say_their_platform_or_have_the_controlling_machines() -> None:
    """Hosts outside the stack's groups do not count."""
    hostvars: dict[str, dict[str, Any]] = {"a": {"bundle_platform": "ubuntu-24.04-amd64"}, "b": {}, "c": {}}
    groups = {"all": ["a", "b", "c"], "engines": ["a"], "edge": ["b"]}
    assert ask.hosts_by_platform(hostvars, groups, "debian-12-amd64") == {
        "ubuntu-24.04-amd64": ["a"],
        "debian-12-amd64": ["b"],
    }


def test_source_is_written_as_apt_reads_it() -> None:
    """A flat repository has no components."""
    text = stage_packages.paragraph(Source(uris="https://x", suites="/", key="k"), "/keys/x.gpg")
    assert text == "Types: deb\nURIs: https://x\nSuites: /\nSigned-By: /keys/x.gpg\n"


def test_repository_lists_each_package_with_its_sum() -> None:
    """In the order of their files, whatever order they came in, and Release vouches for the list."""
    entries: list[tuple[str, dict[str, str | int]]] = [
        ("Package: b\nVersion: 1\n", {"Filename": "./b.deb", "Size": 2, "SHA256": "bb"}),
        ("Package: a\nVersion: 1\n", {"Filename": "./a.deb", "Size": 1, "SHA256": "aa"}),
    ]
    text = index.packages(entries)
    assert text == index.packages(reversed(entries))
    assert re.findall(r"^(Package|Filename|SHA256): (.*)$", text, re.MULTILINE)[:3] == [
        ("Package", "a"),
        ("Filename", "./a.deb"),
        ("SHA256", "aa"),
    ]
    assert f" {hashlib.sha256(text.encode()).hexdigest()} {len(text)} Packages" in index.release(
        text, "debian-12-amd64"
    )


def test_request_survives_json() -> None:
    """What the role hands over is what the program reads."""
    plan = {"services": [], "hosts": [], "settings": {"models": []}}
    options = {
        "packages": {},
        "controller_platform": "",
        "mirrors": MIRRORS,
        "package_sources": [],
        "images": ["a:1"],
        "packages_enabled": True,
        "wheels_groups": ["ansible"],
        "weights_paths": {},
        "weights_exclude": [],
        "hub_url": "http://x",
        "refresh": False,
        "gpus": {},
    }
    made = ask.request(plan, "1", {"debian-12-amd64": ["a"]}, options)
    assert Request.model_validate(json.loads(json.dumps(made))).platforms[0].need.hosts == ["a"]


def test_packages_that_roles_name_are_staged() -> None:
    """A role that installs something on every host installs it from the bundle, too."""
    tasks = "\n".join(path.read_text() for path in sorted((ROOT / "roles").glob("*/tasks/**/*.yml")))
    named = set(re.findall(r"ansible\.builtin\.apt:\n\s+name: ([a-z][a-z0-9.+-]*)\n", tasks))
    assert named
    assert named <= set(platforms.BASE)
