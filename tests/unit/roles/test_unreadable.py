"""A file that is there and cannot be read is no file that is missing: nothing is written over it, or forgotten."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.playbooks import play, role

READERS = {
    ("host_tuning", "deploy_before"): "__host_tuning_before_file",
    ("host_tuning", "remove"): "__host_tuning_before_file",
    ("container_toolkit", "deploy_runtimes"): "__container_toolkit_containerd",
}


def _done(folder: Path, name: str, tasks_from: str) -> CompletedProcess[str]:
    """What became of these tasks; all that they write is in the folder."""
    tuning = {f"__host_tuning_{kind}_file": str(folder / kind) for kind in ("sysctl", "tmpfiles", "limits")}
    variables = {
        READERS[name, tasks_from]: str(folder / "there" / "file"),
        **tuning,
        "__host_tuning_state": {"found": {"sysctl": {}, "thp": "", "governors": {}}},
        "__host_tuning_plan": {"sysctl": {}},
        "__container_toolkit_plan": {"config": ""},
        "__container_toolkit_config": str(folder / "config.toml"),
        "container_toolkit_containerd": True,
        "container_toolkit_mode": "cdi",
    }
    return play(folder, [role(name, tasks_from)], variables)


@pytest.mark.parametrize(("name", "tasks_from"), READERS)
def test_what_cannot_be_read_ends_the_run_and_stays(tmp_path: Path, name: str, tasks_from: str) -> None:
    """A folder where the file should be stands for whatever keeps it from being read."""
    place = tmp_path / "there" / "file"
    place.mkdir(parents=True)
    done = _done(tmp_path, name, tasks_from)
    assert "failed=1" in done.stdout, done.stdout
    assert "Source is a directory" in done.stdout
    assert place.is_dir()


@pytest.mark.parametrize("tasks_from", ["deploy_before", "remove"])
def test_what_is_missing_is_no_failure(tmp_path: Path, tasks_from: str) -> None:
    """The first run; and a host where nothing was ever changed."""
    done = _done(tmp_path, "host_tuning", tasks_from)
    assert "failed=0" in done.stdout, done.stdout
