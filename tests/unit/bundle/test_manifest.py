"""The manifest: one order, one text, nothing in it that points out of the bundle, every damage named."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.manifest import BundleError, File, Image, Manifest, Packages, dumps, loads, slug

SUM = "ab" * 32


def file(path: str = "images/a.tar", sha256: str = SUM, size: int = 3) -> File:
    return File(path=path, sha256=sha256, bytes=size, source="somewhere")


def image(name: str = "acme/a:1", **changes: object) -> Image:
    known = {"name": name, "local": name, "purpose": "runs", "asked": "x", "files": [file()], "ids": [f"sha256:{SUM}"]}
    return Image.model_validate(known | changes)


def packages(name: str = "debian-12-amd64") -> Packages:
    files = [file(f"packages/{name}/b.deb"), file(f"packages/{name}/a.deb")]
    return Packages(name=name, purpose="hosts", asked="y", files=files, folder=f"packages/{name}", packages=["a", "b"])


def test_manifest_reads_what_it_wrote() -> None:
    """Nothing is lost, and what was read is written as the same bytes."""
    text = dumps(Manifest(product="1.0").having(image()).having(packages()))
    assert dumps(loads(text)) == text


@given(st.randoms(use_true_random=False), st.lists(st.sampled_from("abcdef"), unique=True, min_size=1))
def test_manifest_is_the_same_bytes_in_whatever_order_parts_came(shuffle: random.Random, names: list[str]) -> None:
    """Two stagings of the same things are one manifest."""
    parts = [image(f"acme/{name}:1") for name in names] + [packages()]
    again = list(parts)
    shuffle.shuffle(again)
    one, other = Manifest(product="1"), Manifest(product="1")
    for part, another in zip(parts, again, strict=True):
        one, other = one.having(part), other.having(another)
    assert dumps(one) == dumps(other)


def test_part_replaces_the_one_of_its_name() -> None:
    """A part is staged again, not twice; one that nobody wants goes."""
    manifest = Manifest(product="1").having(image(asked="old")).having(packages()).having(image(asked="new"))
    assert [part.asked for part in manifest.parts] == ["new", "y"]
    assert [part.kind for part in manifest.only([("packages", "debian-12-amd64")]).parts] == ["packages"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\nb"])
def test_manifest_never_points_out_of_the_bundle(path: str) -> None:
    """A manifest is data of somebody else: what it names is written on hosts by root."""
    data = json.loads(dumps(Manifest(product="1").having(image())))
    data["parts"][0]["files"][0]["path"] = path
    with pytest.raises(BundleError, match="inside the bundle"):
        loads(json.dumps(data))


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not JSON"), ("[]", "format None"), ('{"format": 2}', "format 2 was found: this version reads format 1")],
)
def test_damaged_manifest_is_named(text: str, said: str) -> None:
    """What is no manifest of this version says so, with the file's name."""
    with pytest.raises(BundleError, match=f"^here: .*{said}"):
        loads(text, "here")


def test_every_wrong_value_of_a_manifest_is_named() -> None:
    """All at once, with their place."""
    data = json.loads(dumps(Manifest(product="1").having(image())))
    data["parts"][0]["files"][0] |= {"sha256": "short", "bytes": -1}
    with pytest.raises(BundleError) as error:
        loads(json.dumps(data))
    assert len(error.value.problems) == 2


@given(st.text())
def test_slug_is_a_plain_file_name(name: str) -> None:
    """Whatever an image is called, its file lies in the folder of images."""
    made = slug(name)
    assert made
    assert "/" not in made
    assert made not in {".", ".."}
    assert made.isascii()
