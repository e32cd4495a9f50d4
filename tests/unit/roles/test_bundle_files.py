"""Files of a bundle on a host: compared, placed only when they are what was sent, not read twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from roles.bundle.library import bundle_files


def _file(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _run(root: Path, files: Sequence[dict[str, Any]], dry: bool = False, **more: Any) -> dict[str, Any]:
    values = {"root": root / "there", "stamp": root / "stamp" / "x.json", "files": files, "purge": False}
    return bundle_files.run({**values, "step": "compare", "arrived": [], **more}, dry)


def _bring(root: Path, contents: dict[str, bytes], files: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    differing = _run(root, files, **more)["differing"]
    for number, name in enumerate(differing):
        (root / "there" / ".incoming" / str(number)).write_bytes(contents[name])
    return _run(root, files, step="place", arrived=differing, **more)


def test_what_arrives_is_placed_and_then_left_alone(tmp_path: Path) -> None:
    """A second comparison finds nothing to bring, and the folder of what arrives is gone."""
    contents = {"a": b"one", "sub/b": b"two"}
    files = [_file(*each) for each in contents.items()]
    assert _bring(tmp_path, contents, files)["problems"] == []
    assert _run(tmp_path, files)["differing"] == []
    assert (tmp_path / "there/sub/b").read_bytes() == b"two"
    assert not (tmp_path / "there/.incoming").exists()


def test_what_arrives_damaged_is_not_placed(tmp_path: Path) -> None:
    """The rest is; the sentence has both sums."""
    files = [_file("a", b"one"), _file("b", b"two")]
    found = _bring(tmp_path, {"a": b"0ne", "b": b"two"}, files)
    assert len(found["problems"]) == 1
    assert hashlib.sha256(b"0ne").hexdigest() in found["problems"][0]
    assert files[0]["sha256"] in found["problems"][0]
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["b"]


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    """Not even what it remembers."""
    assert _run(tmp_path, [_file("a", b"one")], dry=True)["differing"] == ["a"]
    assert list(tmp_path.iterdir()) == []


def test_file_is_read_once_while_size_and_time_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of gigabytes of weights are not read in every run; a touched file is."""
    files = [_file("a", b"one")]
    _bring(tmp_path, {"a": b"one"}, files)
    read: list[Path] = []
    whole = bundle_files.sha256

    def counted(path: Path) -> str:
        read.append(path)
        return whole(path)

    monkeypatch.setattr(bundle_files, "sha256", counted)
    assert _run(tmp_path, files)["differing"] == []
    assert read == []
    (tmp_path / "there/a").write_bytes(b"0ne")
    assert _run(tmp_path, files)["differing"] == ["a"]


def test_what_does_not_belong_there_is_removed_where_asked(tmp_path: Path) -> None:
    """Packages of an earlier bundle would still be offered to apt."""
    _bring(tmp_path, {"old": b"1"}, [_file("old", b"1")])
    found = _bring(tmp_path, {"new": b"2"}, [_file("new", b"2")], purge=True)
    assert found["problems"] == []
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["new"]


def test_what_does_not_fit_is_said_before_it_is_brought(tmp_path: Path) -> None:
    """With what is free, what is to come, and what to do."""
    huge = {"path": "a", "sha256": "0" * 64, "bytes": 2**60}
    assert "make room" in _run(tmp_path, [huge], dry=True)["problem"]


def test_damaged_memory_is_no_memory(tmp_path: Path) -> None:
    """It is made anew."""
    (tmp_path / "stamp").mkdir()
    (tmp_path / "stamp/x.json").write_text("{")
    assert _run(tmp_path, [_file("a", b"one")])["differing"] == ["a"]
