"""A test host's namespaces are entered with its own rights, and never those of a process that took its number."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "molecule/shared/connection_plugins/entered.py"
STATUS = "Name:\tsystemd\nCapBnd:\t0000000000000005\n"


@pytest.fixture(scope="module")
def entered() -> ModuleType:
    spec = importlib.util.spec_from_file_location("entered", FILE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def process(proc: Path, groups: str) -> None:
    """A process 7 as /proc shows it."""
    (proc / "7").mkdir()
    (proc / "7" / "status").write_text(STATUS)
    (proc / "7" / "environ").write_bytes(b"HOME=/srv\0SSL_CERT_FILE=/etc/ca.crt\0")
    (proc / "7" / "cgroup").write_text(groups)


def test_a_command_gets_the_capabilities_of_the_host_and_no_other(entered: ModuleType, tmp_path: Path) -> None:
    """What a container could not do it cannot do here, whoever runs the tests."""
    process(tmp_path, "0::/docker/abc/init.scope\n")
    (_, _, shell), environment = entered.entering(7, "abc", "true", tmp_path)
    assert "--bounding-set=-all,+cap_0,+cap_2 --inh-caps=-all" in shell
    assert shell.startswith(
        "echo 0 >/sys/fs/cgroup/docker/abc/init.scope/cgroup.procs; exec nsenter --target=7 --mount "
    )
    assert environment == {"PATH": entered.ENVIRONMENT["PATH"], "HOME": "/srv", "SSL_CERT_FILE": "/etc/ca.crt"}


def test_the_group_that_limits_devices_has_a_folder_of_its_own_in_version_1(entered: ModuleType) -> None:
    """Both versions of control groups are met, and mixtures."""
    groups = "5:devices:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc/init.scope\n0::/\n"
    assert entered.device_group(groups) == Path("/sys/fs/cgroup/devices/docker/abc")
    assert entered.device_group("0::/system.slice/docker-abc.scope\n") == Path(
        "/sys/fs/cgroup/system.slice/docker-abc.scope"
    )


@pytest.mark.parametrize("groups", ["0::/user.slice\n", "0::/docker/def\n"])
def test_a_number_that_was_given_away_again_is_not_entered(entered: ModuleType, tmp_path: Path, groups: str) -> None:
    """After a restart another process has it: the machine itself must not be taken for a test host."""
    process(tmp_path, groups)
    with pytest.raises(OSError, match="given away"):
        entered.entering(7, "abc", "true", tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root enters namespaces")
def test_what_runs_inside_sees_exactly_the_rights_it_was_given(entered: ModuleType, tmp_path: Path) -> None:
    """The command line as a whole, with this process standing for a host."""
    seen = tmp_path / str(os.getpid())
    seen.mkdir()
    (seen / "cgroup").write_text(Path("/proc/self/cgroup").read_text() + "9:name=abc:/abc\n")
    (seen / "status").write_text(STATUS)
    (seen / "environ").write_bytes(b"ASKED=yes\0")
    command = "echo ${ASKED}; grep -E '^Cap(Eff|Bnd)' /proc/self/status"
    argv, environment = entered.entering(os.getpid(), "abc", command, tmp_path)
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    rights = "0000000000000005"
    assert done.stdout.split() == ["yes", "CapEff:", rights, "CapBnd:", rights], done.stderr
