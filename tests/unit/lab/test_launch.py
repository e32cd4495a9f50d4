"""What the launcher says when it cannot do what it was asked."""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import launch, state, verbs
from tests.lab.errors import LabError
from tests.lab.processes import Command, Process, started_at
from tests.lab.state import State
from tests.lab.topology import Wanted, design


def wanted(directory: Path, port: int = 21_900, **other: int) -> Wanted:
    values = {"engines": 2, **other}
    return Wanted(
        engines=values["engines"],
        port=port,
        model="sim",
        haproxy="/nowhere/haproxy",
        haproxy_version="2.6",
        prefill_rate=20_000.0,
        decide_milliseconds=None,
        engine_options=(),
        state=directory,
    )


def running(directory: Path) -> None:
    """Make this very test look like a lab that runs."""
    started = started_at(os.getpid())
    assert started is not None
    process = Process(Command("router", [], {}, "", ""), os.getpid(), started)
    state.save(directory, State((process,), {"endpoint": "http://127.0.0.1:1"}))


def test_missing_haproxy_names_the_command_that_installs_it() -> None:
    """Without HAProxy there is no lab, and the message says how to get one."""
    with pytest.raises(LabError, match="apt-get install haproxy"):
        launch.haproxy("/nowhere/haproxy")


def test_up_refuses_a_directory_where_a_lab_runs(tmp_path: Path) -> None:
    """Two labs never share a state directory; the message says what to do."""
    running(tmp_path)
    with pytest.raises(LabError, match="scripts/lab down"):
        launch.up(wanted(tmp_path))


def test_up_names_every_taken_port_before_anything_starts(tmp_path: Path) -> None:
    """A port in use is found before the first process is started."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
        two.bind(("127.0.0.1", port + 10))
        one.listen()
        two.listen()
        with pytest.raises(LabError, match=rf"{port}, (.*\b)?{port + 10}\b.*already taken"):
            launch.up(wanted(tmp_path, port=port))
    assert not (tmp_path / "state.json").exists()
    assert not (tmp_path / "haproxy.cfg").exists()


def test_every_port_of_a_lab_follows_from_its_first(tmp_path: Path) -> None:
    """Labs side by side never meet: their ports are a function of `--port`."""
    lab = design(wanted(tmp_path, port=21_500, engines=3))
    assert sorted(lab.ports) == [21_500, 21_501, 21_502, 21_503, 21_504, 21_505, 21_510, 21_511, 21_512]


def test_a_lab_needs_at_least_one_engine(tmp_path: Path) -> None:
    """A lab without engines is a mistake, not a lab."""
    with pytest.raises(LabError, match="--engines 0"):
        design(wanted(tmp_path, engines=0))


def test_state_survives_writing_and_names_what_it_does_not_know(tmp_path: Path) -> None:
    """What is saved is what is loaded, and an unknown process name gets the list of known ones."""
    running(tmp_path)
    found = state.load(tmp_path)
    assert found is not None
    assert found.process("router").alive()
    with pytest.raises(LabError, match="this lab has router"):
        found.process("nobody")


def test_put_mends_the_pid_in_the_report(tmp_path: Path) -> None:
    """After a restart the report shows the pid that runs, wherever the process is listed."""
    report = {"endpoint": "x", "routers": [{"name": "router", "pid": 1}], "edge": {"name": "edge", "pid": 2}}
    mended = State((), report).put(Process(Command("router", [], {}, "", ""), 7, 1)).report
    assert json.loads(json.dumps(mended))["routers"] == [{"name": "router", "pid": 7}]
    assert mended["edge"] == {"name": "edge", "pid": 2}


def test_down_without_a_lab_ends_nothing(tmp_path: Path) -> None:
    """Ending what does not run is not an error."""
    assert verbs.down(tmp_path) == 0


def test_deciders_have_ports_of_their_own(tmp_path: Path) -> None:
    """Each further one follows ten ports on, and the engines come after the last."""
    lab = design(replace(wanted(tmp_path, port=21_500, engines=1), deciders=3))
    assert [one.name for one in lab.routers] == ["router", "router-1", "router-2"]
    assert len(set(lab.ports)) == 2 + 3 * 4 + 1
    assert lab.engines[0].ready_url.endswith(":21530/health")
