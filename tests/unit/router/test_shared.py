"""Load shared by the routers of one host: what one writes the others read, and who is silent counts as gone."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.shared import MOST, Board, Load, Shared, file_name, size

ENGINES = ("b", "a", "c")
loads = st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 20)), min_size=3, max_size=3)


@given(st.dictionaries(st.integers(0, MOST - 1), loads, max_size=8), st.integers(0, MOST - 1))
def test_each_reads_the_sum_of_all_others(written: dict[int, list[Load]], reader: int) -> None:
    """Its own column never counts, whichever columns are in use."""
    memory = memoryview(bytearray(size(3)))
    for index, rows in written.items():
        Board(memory, 3, index).write(rows, 10.0)
    others = [rows for index, rows in written.items() if index != reader]
    expected = [sum(rows[row][which] for rows in others) for which in (0, 1) for row in range(3)]
    assert Board(memory, 3, reader).others(10.0) == expected


@pytest.mark.parametrize(("beat", "counts"), [(10.0, True), (8.5, True), (7.9, False), (0.0, False), (12.0, False)])
def test_column_counts_while_its_heart_beats(beat: float, counts: bool) -> None:
    """After 2 s of silence the requests are gone with their router; a time to come is from another boot."""
    memory = memoryview(bytearray(size(1)))
    Board(memory, 1, 3).write([(100, 2)], beat)
    assert Board(memory, 1, 0).others(10.0) == ([100, 2] if counts else [0, 0])


def test_files_are_shared_by_name_whatever_the_order(tmp_path: Path) -> None:
    """Two routers whose settings name the engines in another order mean the same rows."""
    one, two = Shared(str(tmp_path), 0), Shared(str(tmp_path), 1)
    one.configure(ENGINES, 1.0)
    two.configure(tuple(reversed(ENGINES)), 1.0)
    one.exchange({"a": (5, 1), "c": (7, 2), "gone": (9, 9)}, 1.0)
    assert two.exchange({}, 1.0) == {"a": (5, 1), "b": (0, 0), "c": (7, 2)}
    [file] = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) & 0o007 == 0


def test_other_engines_are_another_file_and_the_old_one_goes(tmp_path: Path) -> None:
    """A router that reloads first does not read wrong rows; files that nobody uses are removed."""
    one, two = Shared(str(tmp_path), 0), Shared(str(tmp_path), 1)
    for each in (one, two):
        each.configure(ENGINES, 1.0)
        each.exchange({"a": (5, 1)}, 1.0)
    one.configure(("a", "d"), 2.0)
    assert one.exchange({"a": (5, 1)}, 2.0) == {"a": (0, 0), "d": (0, 0)}
    assert two.exchange({}, 2.0)["a"] == (5, 1)
    assert len(list(tmp_path.iterdir())) == 2
    two.configure(("a", "d"), 20.0)
    assert [path.name for path in tmp_path.iterdir()] == [file_name(("a", "d"))]


def test_many_lists_of_engines_leave_no_files_and_no_handles(tmp_path: Path) -> None:
    """A thousand changes hold one file."""
    shared = Shared(str(tmp_path), 0)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1000):
        shared.configure((f"e{number}",), 100.0 * number)
        shared.exchange({f"e{number}": (1, 1)}, 100.0 * number)
    assert len(list(tmp_path.iterdir())) == 1
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    shared.close()


def test_folder_that_cannot_be_written_is_told_and_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a router counts its own requests only; when the folder is there, a reload shares them."""
    shared = Shared(str(tmp_path / "none"), 0)
    shared.configure(ENGINES, 1.0)
    assert not shared.up
    assert shared.exchange({"a": (5, 1)}, 1.0) == {}
    assert "decider.shared: found" in caplog.text
    (tmp_path / "none").mkdir()
    shared.configure(ENGINES, 2.0)
    assert shared.up


def test_foreign_file_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    """Only files of this layout are removed, and garbage under such a name is no error."""
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "load-0.bin").write_bytes(b"short")
    shared = Shared(str(tmp_path), 0)
    shared.configure(ENGINES, 100.0)
    assert shared.up
    assert (tmp_path / "notes.txt").exists()
