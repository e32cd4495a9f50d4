"""The tests' hosts compile each text of Ansible's modules once, whatever becomes of the copy that is kept."""

from __future__ import annotations

import importlib.util
import zipimport
from pathlib import Path
from types import CodeType, ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "molecule/shared/images/compiled_modules.py"


@pytest.fixture
def asked() -> list[str]:
    """The archives whose texts were really compiled."""
    return []


@pytest.fixture
def module(tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as a host's Python loads it at its start, over a compiler that counts."""

    def compile_source(path: str, source: bytes) -> CodeType:
        asked.append(path)
        return compile(source, path, "exec")

    monkeypatch.setattr(zipimport, "_compile_source", compile_source)
    spec = importlib.util.spec_from_file_location("compiled_modules", FILE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    monkeypatch.setattr(loaded, "FOLDER", tmp_path / "kept")
    return loaded


def run(path: str, source: bytes) -> object:
    """What importing the text from an archive leaves in `answer`."""
    names: dict[str, object] = {}
    exec(vars(zipimport)["_compile_source"](path, source), names)
    return names["answer"]


@pytest.mark.usefixtures("module")
def test_a_text_is_compiled_once_wherever_its_archive_lies(asked: list[str]) -> None:
    """Every task brings an archive of its own; another text is another matter."""
    texts = {"a.zip/m.py": b"answer = 1", "b.zip/m.py": b"answer = 1", "c.zip/m.py": b"answer = 2"}
    assert [run(path, source) for path, source in texts.items()] == [1, 1, 2]
    assert asked == ["a.zip/m.py", "c.zip/m.py"]


def test_a_damaged_copy_is_made_again(module: ModuleType, asked: list[str]) -> None:
    """A host that stopped in the middle of a write goes on."""
    run("a.zip/m.py", b"answer = 1")
    (kept,) = module.FOLDER.iterdir()
    kept.write_bytes(b"")
    assert (run("b.zip/m.py", b"answer = 1"), run("c.zip/m.py", b"answer = 1")) == (1, 1)
    assert asked == ["a.zip/m.py", "b.zip/m.py"]


def test_without_a_place_to_keep_them_modules_run_all_the_same(module: ModuleType, asked: list[str]) -> None:
    """Whoever may not write there only pays for it."""
    module.FOLDER.parent.joinpath("kept").write_text("a file where the folder should be")
    assert (run("a.zip/m.py", b"answer = 1"), run("b.zip/m.py", b"answer = 1")) == (1, 1)
    assert asked == ["a.zip/m.py", "b.zip/m.py"]
