"""Room for engines: everything missing at once, nothing invented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roles.engine.library import engine_room as room
from roles.engine.library.engine_room import GIB, Engine, Host, Limits

LIMITS = Limits(gpu_share=0.9, kv_gib=4, overhead_gib=2, reserve_gib=5)
RICH = Host({}, 500 * GIB, 500 * GIB, [80 * GIB] * 8)


def engine(source: str, gpus: tuple[int, ...] = (), *, staged: bool = False, name: str = "engine-a-0") -> Engine:
    return Engine(name, source, staged, gpus)


@pytest.mark.parametrize(
    ("source", "billions"),
    [
        ("Qwen/Qwen3-8B", 16),
        ("Qwen/Qwen3-0.6B", 1.2),
        ("HuggingFaceTB/SmolLM2-135M", 0.27),
        ("mistralai/Mixtral-8x7B-v0.1", 112),
        ("Qwen/Qwen3-32B-FP8", 32),
        ("Qwen/Qwen3-30B-A3B", 60),
        ("openai/gpt-oss-120b", 72),
    ],
)
def test_size_is_read_from_the_name(source: str, billions: float) -> None:
    """Parameters times the bytes its format takes; of several numbers the whole model's counts."""
    assert room.guess_bytes(source) == pytest.approx(billions * 1e9)


def test_size_of_a_name_without_a_number_is_unknown_and_no_problem() -> None:
    """What cannot be known is not held against a host."""
    assert room.problems([engine("acme/secret")], [], RICH, LIMITS) == []


def test_missing_disk_memory_and_gpus_are_all_named() -> None:
    """One run says everything."""
    poor = Host({}, 10 * GIB, 8 * GIB, [80 * GIB])
    found = room.problems([engine("a/b-70B"), engine("a/c-8B", (3,))], [], poor, LIMITS)
    assert [text.split(":")[0] for text in found] == ["disk", "memory", "gpus"]


def test_running_engines_hold_their_memory_already() -> None:
    """A second run must not ask for the memory twice."""
    tight = Host({"a/b-8B": 16 * GIB}, 100 * GIB, 1 * GIB, [])
    assert room.problems([engine("a/b-8B")], [], tight, LIMITS) != []
    assert room.problems([engine("a/b-8B")], ["engine-a-0"], tight, LIMITS) == []


def test_weights_larger_than_their_gpus_are_refused() -> None:
    """70 billion parameters do not fit one 80 GiB GPU, and do fit two."""
    assert "GPU memory" in room.problems([engine("a/b-70B", (0,))], [], RICH, LIMITS)[0]
    assert room.problems([engine("a/b-70B", (0, 1))], [], RICH, LIMITS) == []


def test_gpus_whose_driver_comes_in_this_run_are_only_counted() -> None:
    """A fresh host would never get its driver if it were refused for having none; a missing card stays missing."""
    bare = RICH._replace(gpu_bytes=[])
    wanted = [engine("a/b-8B", (0, 1, 2, 3))]
    assert "0 answer to nvidia-smi" in room.problems(wanted, [], bare, LIMITS)[0]
    assert room.problems(wanted, [], bare._replace(gpus_coming=4), LIMITS) == []
    assert "3 on the PCI bus" in room.problems(wanted, [], bare._replace(gpus_coming=3), LIMITS)[0]


def test_gpus_that_answer_are_judged_by_their_answer_even_if_a_driver_is_to_come() -> None:
    """The bus knows no memory and the driver does; a card it lost is lost."""
    one = RICH._replace(gpu_bytes=[80 * GIB], gpus_coming=8)
    assert "1 answer to nvidia-smi" in room.problems([engine("a/b-8B", (1,))], [], one, LIMITS)[0]
    assert "GPU memory" in room.problems([engine("a/b-70B", (0,))], [], one, LIMITS)[0]


def test_model_folder_that_is_not_there_is_named_once_for_all_its_replicas() -> None:
    """Two replicas of one model miss one folder."""
    twins = [engine("/srv/m"), engine("/srv/m", name="engine-a-1")]
    (text,) = room.problems(twins, [], RICH, LIMITS)
    assert text.startswith("engine-a-0: /srv/m/config.json is not there")


def test_staged_weights_that_are_not_in_the_cache_are_named() -> None:
    """weights_staged turns the download off: without weights the engine would fail at start."""
    (text,) = room.problems([engine("a/b-1B", staged=True)], [], RICH, LIMITS)
    assert "weights_staged" in text


def test_weights_on_disk_are_measured_in_folder_and_hub_cache(tmp_path: Path) -> None:
    """Real bytes win over the guess; links of the hub's cache count once."""
    folder = tmp_path / "model"
    folder.mkdir()
    assert room.weights_on_disk(str(folder), tmp_path) is None
    (folder / "config.json").write_text("{}")
    (folder / "weights").write_bytes(b"x" * 1000)
    assert room.weights_on_disk(str(folder), tmp_path) == 1002
    hub = tmp_path / "huggingface/hub/models--a--b"
    (hub / "blobs").mkdir(parents=True)
    (hub / "snapshots/1").mkdir(parents=True)
    (hub / "blobs/0").write_bytes(b"x" * 500)
    (hub / "snapshots/1/weights").symlink_to("../../blobs/0")
    assert room.weights_on_disk("a/b", tmp_path) == 500


def test_folder_of_an_adapter_must_be_on_the_host(tmp_path: Path) -> None:
    """Only for models this host serves, and only for folders: what is at the hub is fetched."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "adapter_config.json").write_text("{}")
    adapters = [{"name": name, "source": str(tmp_path / name)} for name in ("there", "missing")]
    models: list[dict[str, Any]] = [
        {"name": "tiny", "adapters": [*adapters, {"name": "hub", "source": "acme/lora"}]},
        {"name": "other", "adapters": [{"name": "elsewhere", "source": "/nowhere"}]},
        {"name": "bare"},
    ]
    services = [{"name": f"engine-tiny-{number}", "model": "tiny"} for number in range(2)]
    [found] = room.adapters_missing(services, models)
    assert found.startswith("tiny: adapter missing: ")
    assert "missing/adapter_config.json is not there" in found
