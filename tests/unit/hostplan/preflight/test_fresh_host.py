"""A host on which nothing is installed yet: what is planned for it is judged, by its PCI ids and by what would come."""

from __future__ import annotations

from typing import Any

import pytest

from hostplan.preflight import components
from tests.unit.hostplan.preflight.hosts import RULES, changed, judged, plan, probe, texts


def fresh(**groups: Any) -> dict[str, Any]:
    """GPUs on the bus, a model on disk, and nothing installed yet; what is planned is good."""
    good = {"driver": "580", "modules": "open", "waits": False, "toolkit": "1.18.1-1", "docker": ""}
    found = changed(
        driver={"loaded": "", "libraries": []},
        smi={"xml": "", "error": "nvidia-smi is not installed"},
        containers={"docker": "", "toolkit": ""},
        planned={**good, **groups.pop("planned", {})},
        **groups,
    )
    found["images"] = {name: {"present": False, "cuda": ""} for name in found["images"]}
    return found


@pytest.mark.parametrize(
    ("planned", "words"),
    [
        ({"driver": "570"}, "cuda 13.0 (planned) with driver 570 (planned)"),
        ({"toolkit": "1.19.1-1"}, "toolkit-1.19.1-cuinit"),
        ({"toolkit": "1.17.4-1"}, "CVE-2025-23266"),
        ({"docker": "20.10.24"}, "docker 20.10.24 (planned) with injection cdi"),
    ],
)
def test_a_bad_pair_that_is_only_planned_is_refused_on_a_fresh_host(planned: dict[str, Any], words: str) -> None:
    """Nothing runs there: what would be installed is judged, before it is."""
    found = texts(judged(fresh(planned=planned), []), "known-bad", "refused")
    assert len(found) == 1
    assert words in found[0]


def test_a_good_plan_for_a_fresh_host_is_not_refused() -> None:
    """The versions this project comes with."""
    assert texts(judged(fresh(), []), "known-bad", "refused") == []


@pytest.mark.parametrize(("waits", "refused"), [(False, []), (True, ["driver 570.1"])])
def test_an_old_driver_counts_while_nobody_may_restart_the_host(waits: bool, refused: list[str]) -> None:
    """580 is planned over 570: engines meet the old one only where it waits for a restart."""
    old = {"loaded": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.1.2  R", "libraries": []}
    planned = {"driver": "580", "modules": "open", "waits": waits}
    found = texts(judged(changed(driver=old, planned=planned), []), "known-bad", "refused")
    assert [words for words in refused if any(words in text for text in found)] == refused
    assert len(found) == len(refused)


def test_the_driver_that_runs_is_named_where_it_is_the_planned_branch() -> None:
    """A branch says less than the release that is there."""
    stack = plan()
    (mine,) = components.of_host(stack, "box", changed(planned={"driver": "580", "modules": "open"}))
    assert (mine.found["driver"], mine.coming) == ("580.159.04", frozenset())


@pytest.mark.parametrize(
    ("image", "cuda"),
    [
        ("vllm/vllm-openai:v0.29.0@sha256:00", "13.0"),
        ("mirror.example:5000/vllm/vllm-openai:v0.29.0-cu129", "12.9"),
        ("vllm/vllm-openai:v0.15.1", "12"),
        ("vllm/vllm-openai-cpu:v0.29.0", ""),
        ("acme/vllm:v0.29.0", ""),
        ("vllm/vllm-openai@sha256:00", ""),
    ],
)
def test_the_cuda_of_an_image_that_is_still_to_come_is_told_by_its_name(image: str, cuda: str) -> None:
    """By its suffix, else by its release; what is not vLLM's own is not guessed at."""
    assert components.cuda_of(image, RULES.engine_cuda) == cuda


def test_a_model_is_judged_by_the_boards_before_the_driver_is_there() -> None:
    """An H200 by its PCI id has room for it, an L4 has not; the report says that this is an estimate."""
    roomy = texts(judged(fresh(), []), "model fits", "ok")
    assert any("an estimate by PCI id" in text for text in roomy), roomy
    cards = [{"slot": f"0000:00:0{slot}.0", "device": "0x27b8"} for slot in (6, 7)]
    small = fresh(pci={"gpus": cards})
    small["models"]["/srv/qwen"]["weights_bytes"] = 60 * 2**30
    assert any("an estimate by PCI id" in text for text in texts(judged(small, []), "model fits", "refused"))


def test_a_board_that_nobody_knows_is_not_estimated() -> None:
    """Left out and said, instead of counted with no memory."""
    cards = [{"slot": f"0000:00:0{slot}.0", "device": "0x2bff"} for slot in (6, 7)]
    assert "cannot be estimated" in texts(judged(fresh(pci={"gpus": cards}), []), "model fits", "skipped")[0]


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ({"model": "H200", "memory_gib": 141}, "ok"),
        ({"model": "NVIDIA H200"}, "ok"),
        ({"model": "A100"}, "refused"),
        ({"memory_gib": 80}, "refused"),
    ],
)
def test_declared_gpus_are_compared_by_pci_id_before_the_driver_is_there(said: dict[str, Any], level: str) -> None:
    """The family in the board's name, and its memory."""
    found = [each for each in judged(fresh(declared=said), []) if each.check == "gpu model"]
    assert [each.level.value for each in found] == [level]


def test_an_engine_image_without_a_driver_is_refused_when_it_is_tried() -> None:
    """A missing driver is a warning as long as it is to come; a container that got no GPU is no such thing."""
    failed = [{**probe(), "answer": None, "error": "unresolvable CDI devices nvidia.com/gpu=0"}]
    assert "unresolvable CDI" in texts(judged(fresh(), failed), "CUDA", "refused")[0]
