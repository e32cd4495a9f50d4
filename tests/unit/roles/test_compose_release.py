"""Releases: named by content, whole or absent, shown before they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roles.compose.library import compose_release as release

FILES = {"compose.yml": "name: x\n", "config/edge/haproxy.cfg": "global\n", "config/router/router.yml": "a: 1\n"}


def deploy(root: Path, files: dict[str, str], keep: int = 3) -> dict[str, object]:
    release.run(root, files, "staged", keep, dry=False)
    return release.run(root, files, "active", keep, dry=False)


def test_release_puts_the_same_bytes_where_they_are_mounted(tmp_path: Path) -> None:
    """After a deploy the mounted copies and `current` hold what was rendered."""
    deploy(tmp_path, FILES)
    assert (tmp_path / "config/edge/haproxy.cfg").read_text() == "global\n"
    assert release.read_tree(tmp_path / "current") == FILES


def test_release_changes_nothing_the_second_time(tmp_path: Path) -> None:
    """The same files are the same release."""
    deploy(tmp_path, FILES)
    assert not release.run(tmp_path, FILES, "staged", 3, dry=False)["changed"]
    assert not deploy(tmp_path, FILES)["changed"]


def test_release_names_only_the_services_whose_bytes_differ(tmp_path: Path) -> None:
    """Who kept its configuration must not be reloaded."""
    deploy(tmp_path, FILES)
    result = deploy(tmp_path, {**FILES, "config/edge/haproxy.cfg": "defaults\n"})
    assert (result["changed"], result["services"]) == (True, ["edge"])


def test_release_repairs_a_mounted_file_somebody_edited(tmp_path: Path) -> None:
    """The release in use says what is mounted, whoever wrote there since."""
    deploy(tmp_path, FILES)
    (tmp_path / "config/edge/haproxy.cfg").write_text("by hand\n")
    assert deploy(tmp_path, FILES)["services"] == ["edge"]
    assert (tmp_path / "config/edge/haproxy.cfg").read_text() == "global\n"


def test_release_takes_away_files_the_plan_no_longer_has(tmp_path: Path) -> None:
    """A file of the last release that this one lacks would still be read."""
    deploy(tmp_path, FILES)
    fewer = {path: text for path, text in FILES.items() if "router" not in path}
    assert deploy(tmp_path, fewer)["services"] == ["router"]
    assert not (tmp_path / "config/router/router.yml").exists()


def test_release_keeps_the_last_three_and_the_one_in_use(tmp_path: Path) -> None:
    """Old releases go, what runs and what one can go back to stays."""
    names = [deploy(tmp_path, {**FILES, "compose.yml": f"name: x{n}\n"})["id"] for n in range(5)]
    kept = {path.name for path in (tmp_path / "releases").iterdir()}
    assert len(kept) == 3
    assert names[-1] in kept
    assert release.current(tmp_path) == names[-1]


def test_release_returns_to_an_older_one_without_writing_it_again(tmp_path: Path) -> None:
    """Going back is the same step with the files of then."""
    first = deploy(tmp_path, FILES)["id"]
    deploy(tmp_path, {**FILES, "compose.yml": "name: y\n"})
    assert deploy(tmp_path, FILES)["id"] == first
    assert release.current(tmp_path) == first


@pytest.mark.parametrize("state", ["staged", "active"])
def test_dry_run_writes_nothing_and_shows_every_file(tmp_path: Path, state: str) -> None:
    """A preview that wrote, or left a file out, would be a lie."""
    result = release.run(tmp_path, FILES, state, 3, dry=True)
    assert result["changed"]
    assert list(tmp_path.iterdir()) == []
    if state == "staged":
        assert {entry["after_header"]: entry["after"] for entry in result["diff"]} == FILES


def test_staged_release_is_still_new_until_it_is_in_use(tmp_path: Path) -> None:
    """A release that failed its checks is checked again by the next run."""
    release.run(tmp_path, FILES, "staged", 3, dry=False)
    again = release.run(tmp_path, FILES, "staged", 3, dry=False)
    assert (again["new"], again["changed"]) == (True, False)


texts = st.dictionaries(st.sampled_from(["a", "b", "a/b", "config/x/y"]), st.text(max_size=20), min_size=1)


@given(texts, texts)
def test_release_id_differs_exactly_when_the_files_do(one: dict[str, str], other: dict[str, str]) -> None:
    """Equal bytes at equal paths, equal name; anything else, another name."""
    assert (release.release_id(one) == release.release_id(other)) == (one == other)
