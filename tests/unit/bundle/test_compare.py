"""What is missing of a bundle and what is damaged in it, in sentences, all at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import stackplan
from bundle import compare, needs, sums
from bundle.compare import Found
from bundle.manifest import File, Image, Manifest, Packages, Weights
from bundle.needs import ImageNeed, Needs, PackagesNeed, WeightsNeed
from tests.unit.stackplan.stacks import fleet, intent, model

DIGEST = "sha256:" + "1" * 64
SUM = "ab" * 32


def _plan(**sections: object) -> dict[str, object]:
    return stackplan.plan(intent(**sections), fleet())


def _needed(plan: dict[str, object]) -> Needs:
    platforms = [PackagesNeed(platform="debian-12-amd64", packages=["docker.io"], hosts=["gpu-1"])]
    return Needs(product="1", images=needs.images(plan), weights=needs.weights(plan), packages=platforms)


def _whole(needed: Needs) -> Manifest:
    """A manifest that has everything."""
    found = Manifest(product="1")
    for image in needed.images:
        found = found.having(
            Image(name=image.reference, local=image.local, purpose="", asked="", files=[], ids=[DIGEST], sources="s1")
        )
    for each in needed.weights:
        found = found.having(Weights(name=each.name, purpose="", asked="", files=[], folder="weights/x", target="x"))
    return found.having(
        Packages(name="debian-12-amd64", purpose="", asked="", files=[], folder="packages/x", packages=["docker.io"])
    )


def test_plan_needs_each_image_once_with_who_runs_it() -> None:
    """Two engines are one image; its hosts are those of both."""
    found = {need.reference: need for need in needs.images(_plan())}
    engine = next(need for need in found.values() if need.services == ["engine"])
    assert engine.hosts == ["gpu-1", "gpu-2"]
    assert next(need for need in found.values() if need.services == ["router"]).build


def test_plan_needs_models_and_their_adapters_where_engines_load_them() -> None:
    """Revisions are part of the name."""
    adapters = [{"name": "fr", "source": "acme/fr"}]
    models = [model(revision="v2", hosts=["gpu-2"], adapters=adapters)]
    found = needs.weights(_plan(models=models))
    assert [(need.name, need.hosts) for need in found] == [("Qwen/Qwen3-8B@v2", ["gpu-2"]), ("acme/fr", ["gpu-2"])]


def test_needs_are_the_same_before_and_after_the_plan_goes_offline() -> None:
    """Whoever stages with the bundle's path already in the inventory pulls by digest all the same."""
    plan = _plan()
    assert needs.images(plan) == needs.images(stackplan.offline(plan))


def test_nothing_is_lacking_in_a_whole_bundle() -> None:
    """No sentence, and every needed part is found by the names of the offline plan."""
    plan = _plan()
    manifest = _whole(_needed(plan))
    offline = _needed(stackplan.offline(plan))
    assert compare.lacking(manifest, offline, "s1") == []
    assert len(compare.wanted_parts(manifest, offline)) == len(manifest.parts)


def test_everything_lacking_is_said_at_once() -> None:
    """Version, images, weights, packages: each with who needs it and what to do."""
    needed = _needed(_plan())
    said = compare.lacking(Manifest(product="0"), needed)
    assert len(said) == 1 + len(needed.images) + len(needed.weights) + 1
    assert all("playbooks/stage.yml" in line for line in said)
    assert any("Qwen/Qwen3-8B" in line and "gpu-1, gpu-2" in line for line in said)


def test_router_built_from_other_sources_is_refused() -> None:
    """The image would be another router than the one whose configuration this checkout renders."""
    needed = _needed(_plan())
    said = compare.lacking(_whole(needed), needed, "s2")
    assert len(said) == 1
    assert "built from other sources (s1): this checkout's are s2" in said[0]


def test_packages_that_were_not_asked_for_then_are_named() -> None:
    """A bundle staged for less than the inventory wants today."""
    needed = Needs(product="1", packages=[PackagesNeed(platform="debian-12-amd64", packages=["docker.io", "nvlsm"])])
    said = compare.lacking(_whole(_needed(_plan())), needed)
    assert ["nvlsm missing" in line for line in said] == [True]


def test_weights_in_a_folder_may_have_been_put_on_hosts_by_hand() -> None:
    """The engines' own check says whether they are there."""
    needed = Needs(product="1", weights=[WeightsNeed(source="/srv/m", models=["m"], hosts=["a"])])
    assert compare.lacking(Manifest(product="1"), needed) == []


def test_missing_short_and_changed_files_are_told_apart(tmp_path: Path) -> None:
    """By name, with expected and found sum, in one go."""
    (tmp_path / "whole").write_bytes(b"abc")
    (tmp_path / "changed").write_bytes(b"abd")
    (tmp_path / "short").write_bytes(b"ab")
    right = sums.sha256(tmp_path / "whole")
    files = [File(path=name, sha256=right, bytes=3, source="") for name in ("whole", "changed", "short", "gone")]
    said = compare.differing(files, sums.found(tmp_path, files))
    assert [line.split(":")[1].strip() for line in said] == ["changed", "short", "gone"]
    assert f"sha256 {sums.sha256(tmp_path / 'changed')} was found: sha256 {right}" in said[0]
    assert "2 bytes were found: 3" in said[1]
    assert "missing" in said[2]


@given(st.binary(max_size=64), st.integers(0, 63), st.integers(1, 255))
def test_any_changed_byte_is_noticed(data: bytes, place: int, change: int) -> None:
    """And nothing else is."""

    def of(content: bytes) -> Found:
        return Found(len(content), hashlib.sha256(content).hexdigest())

    file = File(path="f", sha256=of(data).sha256, bytes=len(data), source="")
    assert compare.difference(file, of(data)) == ""
    if data:
        place %= len(data)
        changed = data[:place] + bytes([data[place] ^ change]) + data[place + 1 :]
        assert compare.difference(file, of(changed))


@given(st.integers(0, 10**15))
def test_sizes_are_short(count: int) -> None:
    """At most five digits and a unit."""
    assert len(compare.size(count)) <= 9


def test_host_needs_only_its_own() -> None:
    """An edge host gets no weights and no engine image."""
    found = needs.of_host(_needed(_plan()), "edge-2")
    assert found.weights == []
    assert found.packages == []
    assert not [need for need in found.images if "engine" in need.services]


def test_extra_images_go_to_every_host() -> None:
    """What runs beside the plan's services: probes, exporters."""
    extra = next(need for need in needs.images(_plan(), ["acme/probe:1"]) if need.reference == "acme/probe:1")
    assert isinstance(extra, ImageNeed)
    assert len(extra.hosts) == 4
