"""Gathering facts, and asking GPUs: what is read, what is run, and what is left alone."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from roles.preflight.library import preflight_facts, preflight_gpus


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_gpus_and_switches_are_found_on_the_bus(tmp_path: Path) -> None:
    """By vendor and class: a GPU's sound is no GPU."""
    bus = "sys/bus/pci/devices"
    write(
        tmp_path,
        {
            f"{bus}/0000:17:00.0/vendor": "0x10de\n",
            f"{bus}/0000:17:00.0/class": "0x030200\n",
            f"{bus}/0000:17:00.0/device": "0x2335\n",
            f"{bus}/0000:17:00.1/vendor": "0x10de\n",
            f"{bus}/0000:17:00.1/class": "0x040300\n",
            f"{bus}/0000:19:00.0/vendor": "0x10de\n",
            f"{bus}/0000:19:00.0/class": "0x068000\n",
            f"{bus}/0000:1a:00.0/vendor": "0x8086\n",
            f"{bus}/0000:1a:00.0/class": "0x030000\n",
        },
    )
    assert preflight_facts.pci(tmp_path) == {
        "gpus": [{"slot": "0000:17:00.0", "device": "0x2335"}],
        "nvswitches": 1,
    }


def test_versions_of_the_driver_are_read_from_where_they_lie(tmp_path: Path) -> None:
    """Links carry no version."""
    folder = "usr/lib/x86_64-linux-gnu"
    write(tmp_path, {f"{folder}/libnvidia-ml.so.580.95.05": "", f"{folder}/libnvidia-ml.so.1": ""})
    write(tmp_path, {"proc/driver/nvidia/version": "NVRM version: x\n"})
    found = preflight_facts.driver(tmp_path)
    assert found["libraries"] == ["580.95.05"]
    assert found["loaded"] == "NVRM version: x"


def test_a_model_is_read_from_its_folder_and_from_the_hubs_cache(tmp_path: Path) -> None:
    """An index's total wins over what lies there."""
    hub = "huggingface/hub/models--a--b/snapshots/1"
    write(tmp_path, {"m/config.json": '{"x": 1}', "m/a.safetensors": "1234", f"{hub}/config.json": "{}"})
    write(tmp_path, {f"{hub}/model.safetensors.index.json": '{"metadata": {"total_size": 99}}'})
    assert preflight_facts.model(str(tmp_path / "m"), tmp_path) == {"config": {"x": 1}, "weights_bytes": 4}
    assert preflight_facts.model("a/b", tmp_path) == {"config": {}, "weights_bytes": 99}
    assert preflight_facts.model("a/c", tmp_path) == {"config": None, "weights_bytes": None}


def test_a_refused_connection_is_an_answer() -> None:
    """The host is there; whether its services run is another question."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        found = preflight_facts.reach({"host": "b", "address": "127.0.0.1", "port": port}, 2)
    assert found == {"host": "b", "address": "127.0.0.1", "port": port, "ok": True, "why": ""}
    silent = preflight_facts.web("http://127.0.0.1:1/", 2)
    assert (silent["ok"], bool(silent["why"])) == (False, True)


def test_everything_can_be_gathered_where_nothing_is(tmp_path: Path) -> None:
    """No driver, no Docker, no network: texts and lists are empty, and nothing fails."""
    asked = {
        "root": str(tmp_path),
        "asked_at": 1.0,
        "folders": {"weights": str(tmp_path / "none")},
        "images": ["x:1"],
        "models": ["a/b"],
        "cache_directory": str(tmp_path),
        "peers": [],
        "urls": [],
        "timeout_seconds": 1,
    }
    found = preflight_facts.facts(asked)
    assert found["pci"] == {"gpus": [], "nvswitches": 0}
    assert found["models"]["a/b"] == {"config": None, "weights_bytes": None}
    assert found["disk"]["weights"]["free_bytes"] > 0
    assert json.dumps(found)


GROUP = {
    "engine": "engine-a-0",
    "image": "vllm:1",
    "gpus": [2, 3],
    "ipc": "host",
    "shm_size": None,
    "ulimits": {"memlock": -1},
}


class Docker:
    """Answers as told, and remembers what it was asked."""

    def __init__(self, answer: tuple[int, str, str], *, has_image: bool = True) -> None:
        self.answer, self.has_image = answer, has_image
        self.asked: list[Sequence[str]] = []

    def __call__(self, argv: Sequence[str], timeout: float) -> tuple[int, str, str]:
        self.asked.append(argv)
        if argv[1] == "image":
            return (0, "sha", "") if self.has_image else (1, "", "no such image")
        return self.answer if argv[1] == "run" else (0, "", "")


def ask(docker: Docker, **values: Any) -> dict[str, Any]:
    given = {"groups": [GROUP], "probe": "print()", "injection": "cdi", "running": [], "timeout_seconds": 5, **values}
    (found,) = preflight_gpus.probes(given, docker)
    return found


@pytest.mark.parametrize(
    ("injection", "words"),
    [
        ("cdi", ["--device=nvidia.com/gpu=2", "--device=nvidia.com/gpu=3"]),
        ("runtime", ["--runtime=nvidia", "--env=NVIDIA_VISIBLE_DEVICES=2,3"]),
    ],
)
def test_a_group_gets_what_its_engine_will_have(injection: str, words: list[str]) -> None:
    """Its GPUs in the same way, its memory and limits; nothing is pulled, nothing stays."""
    docker = Docker((0, 'noise\n{"gpus": []}\n', ""))
    assert ask(docker, injection=injection)["answer"] == {"gpus": []}
    command = docker.asked[-1]
    assert set(words) <= set(command)
    assert {"--rm", "--pull=never", "--ipc=host", "--ulimit=memlock=-1"} <= set(command)


def test_a_group_whose_gpus_are_used_is_left_alone() -> None:
    """Not one container is started beside a running engine."""
    docker = Docker((0, "{}", ""))
    assert ask(docker, running=["engine-a-0"])["skipped"] == "an engine uses these GPUs now"
    assert docker.asked == []


def test_an_image_that_is_not_here_is_not_pulled() -> None:
    """A check changes nothing."""
    docker = Docker((0, "{}", ""), has_image=False)
    assert "not on this host" in ask(docker)["skipped"]
    assert [argv[1] for argv in docker.asked] == ["image"]


def test_what_docker_says_is_kept() -> None:
    """Unreadable answers are errors."""
    assert ask(Docker((125, "", "unresolvable CDI devices")))["error"] == "unresolvable CDI devices"
    assert ask(Docker((1, "", "")))["error"] == "exit code 1"


def test_a_container_that_does_not_end_is_removed() -> None:
    """By its name, since the client that started it is gone."""
    docker = Docker((124, "", "no answer within 125 s"))
    assert ask(docker)["error"] == "no answer within 125 s"
    assert docker.asked[-1] == ["docker", "rm", "--force", "ironrack-preflight-2-3"]
