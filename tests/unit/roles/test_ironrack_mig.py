"""What splits GPUs at boot: it compares first, and changes only what differs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/gpu_driver/files/ironrack_mig.py"
# Answers as nvidia-smi does, keeps what it was told in files (none before that), and writes down what it changed.
SMI = r"""#!/bin/sh
cd "$STATE"
case "$*" in
  "-i "*" --query-gpu=mig.mode.current"*) cat "mode-$2" 2>/dev/null || echo Disabled ;;
  "-i "*" -mig "*)
    echo "$*" >> changes
    [ -e busy ] && exit 0
    [ "$4" = 1 ] && echo Enabled > "mode-$2" || echo Disabled > "mode-$2" ;;
  "mig -i "*" -lgi") grep . "gpu-$3" 2>/dev/null || { echo "No GPU instances found: Not Found"; exit 6; } ;;
  "mig -i "*" -cgi "*)
    echo "$*" >> changes
    for profile in $(echo "$5" | tr , ' '); do echo "|   $3  MIG $profile    9    1    4:4   |"; done > "gpu-$3" ;;
  "mig -i "*" -d"*) echo "$*" >> changes; [ "$4" = -dgi ] && rm -f "gpu-$3"; exit 0 ;;
  *) echo "unexpected: $*"; exit 2 ;;
esac
"""


class Host:
    """A folder with a stand-in for nvidia-smi and a layout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "bin/nvidia-smi").write_text(SMI)
        (folder / "bin/nvidia-smi").chmod(0o755)

    def run(self, layout: object, *flags: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "mig.json").write_text(json.dumps(layout))
        env = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "STATE": str(self.folder)}
        argv = [sys.executable, str(PROGRAM), *flags, str(self.folder / "mig.json")]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    @property
    def changes(self) -> list[str]:
        path = self.folder / "changes"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_gpus_are_split_once(host: Host) -> None:
    """A second run finds them as declared and touches nothing, whatever the order of profiles."""
    assert host.run({"0": ["3g.40gb", "2g.20gb"], "1": []}).returncode == 0
    assert host.changes == ["-i 0 -mig 1", "mig -i 0 -cgi 3g.40gb,2g.20gb -C"]
    again = host.run({"0": ["2g.20gb", "3g.40gb"], "1": []})
    assert (again.returncode, again.stdout, len(host.changes)) == (0, "", 2)


def test_check_names_what_differs_and_changes_nothing(host: Host) -> None:
    """Exit 1 is a difference, not a failure."""
    done = host.run({"0": ["7g.80gb"]}, "--check")
    assert (done.returncode, done.stdout, host.changes) == (1, "GPU 0: differs: 7g.80gb\n", [])


def test_other_layout_takes_the_old_instances_away_first(host: Host) -> None:
    """Compute instances go before the GPU instances they live in."""
    host.run({"0": ["7g.80gb"]})
    host.run({"0": ["1g.10gb+me"]})
    assert host.changes[2:] == ["mig -i 0 -dci", "mig -i 0 -dgi", "mig -i 0 -cgi 1g.10gb+me -C"]


def test_gpu_becomes_whole_again(host: Host) -> None:
    """An empty list is a whole GPU."""
    host.run({"0": ["7g.80gb"]})
    assert host.run({"0": []}).returncode == 0
    assert host.changes[-1] == "-i 0 -mig 0"


def test_mode_that_waits_for_a_reset_is_a_failure_in_words(host: Host) -> None:
    """NVSwitch boards and GPUs in use change it only at the next boot."""
    (host.folder / "busy").touch()
    done = host.run({"0": ["7g.80gb"]})
    assert done.returncode == 2
    assert "only after a reset" in done.stderr


def test_what_nvidia_smi_says_is_passed_on(host: Host) -> None:
    """Its words name the cause."""
    (host.folder / "bin/nvidia-smi").write_text("#!/bin/sh\necho driver not loaded; exit 9\n")
    done = host.run({"0": []})
    assert (done.returncode, "driver not loaded" in done.stderr) == (2, True)


def test_broken_layout_is_a_failure(host: Host) -> None:
    """Boot goes on without engines rather than with a guess."""
    (host.folder / "mig.json").write_text("{")
    argv = [sys.executable, str(PROGRAM), str(host.folder / "mig.json")]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 2
