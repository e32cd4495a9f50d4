"""The benchmark of real engines, on simulated ones: everything it starts, asks, reads and tells, once through."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import processes, starting
from tests.lab.processes import ROOT, Command
from tests.lab.state import State
from tests.support.processes import free_ports

pytestmark = pytest.mark.lab

# Few tokens of cache and a slow prefill: who comes back to another engine waits.
_ENGINE = ("--model", "sim", "--cache-tokens", "60000", "--prefill-rate", "8000", "--decode-seconds", "0.005")
_TRAFFIC = (
    *("--users", "8", "--system", "50", "--history", "600", "--question", "20", "--answer", "4", "--think", "0.2"),
    *("--warm", "1", "--seconds", "2", "--repeats", "1"),
)


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[str]]:
    """The URLs of two engines that run."""
    (tmp_path / "logs").mkdir()
    ports = free_ports(2)
    argv = [sys.executable, "-m", "tests.engines", *_ENGINE]
    commands = [
        Command(
            name := f"engine-{port}",
            [*argv, "--name", name, "--port", str(port)],
            {"PYTHONPATH": str(ROOT)},
            f"http://127.0.0.1:{port}/health",
            str(tmp_path / "logs" / f"{name}.log"),
        )
        for port in ports
    ]
    state = starting.start(tmp_path, commands, State((), {}))
    yield [f"http://127.0.0.1:{port}" for port in ports]
    processes.end(state.processes)


def test_ironrack_finds_more_in_the_caches_than_round_robin(engines: list[str], tmp_path: Path) -> None:
    """Nothing fails, both subjects are told of, and users who come back find their history."""
    given = [word for url in engines for word in ("--engine", url)]
    chosen = ("--subjects", "ironrack,round robin", "--workloads", "multi-round")
    kept = tmp_path / "measured.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "engines", *given, *chosen, *_TRAFFIC, "--json", str(kept)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = {one["subject"]: one for one in json.loads(kept.read_text())["measured"]}
    assert [one["failed"] for one in found.values()] == [0, 0], [one["reasons"] for one in found.values()]
    assert found["ironrack"]["hit"] > found["round robin"]["hit"]
    assert "| ironrack |" in done.stdout
    assert "| round robin |" in done.stdout
    assert "Ironrack ÷ the best other" in done.stdout
