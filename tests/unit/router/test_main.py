"""The command line: exit codes an operator and a container can rely on."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml

from router.__main__ import main
from router.config import split_address
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[3]


def write(path: Path, **changes: object) -> Path:
    settings: dict[str, object] = {
        "listen": {"spop": "127.0.0.1:0", "http": "127.0.0.1:0", "events": "127.0.0.1:0"},
        "models": [{"name": "tiny", "backend": "model-tiny"}],
        "engines": [{"name": "engine-a", "url": "http://127.0.0.1:1", "model": "tiny"}],
        "health": {"interval_seconds": 0.1, "timeout_seconds": 0.5},
    }
    path.write_text(yaml.safe_dump(settings | changes), "utf-8")
    return path


def test_good_settings_are_checked_with_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways to ask for a check say that all is well and start nothing."""
    path = write(tmp_path / "router.yml")
    assert main(["--check-config", str(path)]) == 0
    assert main(["--config", str(path), "--check-config"]) == 0
    assert capsys.readouterr().out.count("1 engines, 1 models: good") == 2


def test_bad_settings_end_with_code_2_and_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each mistake, on stderr, whether checking or starting."""
    path = write(tmp_path / "router.yml", health={"interval": 1}, edge={"buffer_bytes": 1})
    for arguments in (["--check-config", str(path)], ["--config", str(path)]):
        assert main(arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2
        assert all(line.startswith("router.yml: ") for line in lines)


def test_missing_file_argument_ends_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """The usage says what is missing."""
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "--config FILE" in capsys.readouterr().err


def test_taken_port_ends_with_code_1(tmp_path: Path) -> None:
    """A router that cannot listen says where and stops."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        path = write(tmp_path / "router.yml", listen={"spop": "127.0.0.1:0", "http": address, "events": "127.0.0.1:0"})
        ran = subprocess.run(
            [sys.executable, "-m", "router", "--config", path], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert ran.returncode == 1
    assert "router: " in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_with_code_0(tmp_path: Path, number: signal.Signals) -> None:
    """Asked to stop, it stops."""
    with running(tmp_path) as (process, _):
        process.send_signal(number)
        assert process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_edge_sees_a_reset_when_the_router_ends(tmp_path: Path, number: signal.Signals) -> None:
    """However it ends: HAProxy 3.0 takes an orderly end of the event connection for nothing, and never dials again."""
    with running(tmp_path) as (process, said):
        events, http = re.findall(r"(?:events|HTTP) on (\S+:\d+)", said)
        with socket.create_connection(split_address(events), timeout=60) as edge:
            edge.sendall(b'10 {"id":"x"}')
            heard = "ironrack_router_events_total 1\n"
            wait_until(lambda: heard in requests.get(f"http://{http}/metrics", timeout=5).text, "the line is read", 60)
            process.send_signal(number)
            with pytest.raises(ConnectionResetError):
                edge.recv(1)


@contextmanager
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A router that takes questions, and its line that says where."""
    command = [sys.executable, "-m", "router", "--config", str(write(tmp_path / "router.yml"))]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "questions on" in line)
        try:
            yield process, said
        finally:
            process.kill()
