"""The command line: exit codes an operator and a container can rely on."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from router.__main__ import main

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
    path = write(tmp_path / "router.yml")
    command = [sys.executable, "-m", "router", "--config", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "questions on" in line:
                break
        process.send_signal(number)
        assert process.wait() == 0
