"""The container toolkit: one version of all four packages, one way of giving GPUs, and clear refusals."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from hostplan import toolkit

INTENT = {
    "mode": "cdi",
    "version": "1.18.2-1",
    "source": "upstream",
    "repository_url": "https://example.org/deb/$arch",
    "key_url": "https://example.org/key",
    "trusted": False,
}
INSTALLED = dict.fromkeys(toolkit.PACKAGES, "1.18.2-1")


def planned(intent: dict[str, Any] | None = None, **found: Any) -> dict[str, Any]:
    """The plan for a host with one GPU, unless `found` says otherwise."""
    return toolkit.plan({**INTENT, **(intent or {})}, {"gpus": ["0000:01:00.0"], **found}, "gpu-1")


def test_host_without_gpu_gets_nothing_and_is_told() -> None:
    """No package, no setting, no problem: a reason."""
    plan = planned(gpus=[])
    assert plan["nothing"].startswith("no NVIDIA GPU")
    assert (plan["install"], plan["daemon_settings"], plan["problems"]) == ([], {}, [])


def test_all_four_packages_are_installed_at_one_version_and_held() -> None:
    """Only those that are missing or differ are installed; all are held and pinned."""
    plan = planned(packages={**INSTALLED, "nvidia-container-toolkit": "1.17.8-1"})
    assert plan["install"] == ["nvidia-container-toolkit=1.18.2-1"]
    assert plan["hold"] == list(toolkit.PACKAGES)
    assert plan["preferences"].count("Pin: version 1.18.2-1\n") == 4
    assert planned(packages=INSTALLED)["install"] == []
    assert "URIs: https://example.org/deb/amd64\n" in plan["repository"]


@pytest.mark.parametrize(("version", "own"), [("1.17.8-1", True), ("1.18.0-1", False), ("1.20.1-1", False)])
def test_specification_is_written_by_whoever_can(version: str, own: bool) -> None:
    """From 1.18 on the toolkit's own unit does; before it, this role's."""
    assert planned({"version": version})["own_refresh"] is own
    assert planned({"version": version, "mode": "runtime"})["own_refresh"] is False


@pytest.mark.parametrize(
    ("driver", "spec", "stale"),
    [("580.1", "", True), ("580.1", "570.1", True), ("580.1", "580.1", False), ("", "", False)],
)
def test_specification_of_another_driver_is_written_again(driver: str, spec: str, stale: bool) -> None:
    """Its libraries carry the driver's version; without a driver there is nothing to describe yet."""
    assert planned(driver=driver, spec_driver=spec)["refresh"] is stale


def test_each_mode_has_its_settings_of_docker_and_of_the_runtime() -> None:
    """One mode: Docker reads specifications, or knows NVIDIA's runtime; the runtime's own default never decides."""
    assert planned()["daemon_settings"]["features"] == {"cdi": True}
    assert "runtimes" not in planned()["daemon_settings"]
    assert set(planned({"mode": "runtime"})["daemon_settings"]) == {"runtimes"}
    config = planned({"mode": "runtime"}, config='[nvidia-container-runtime]\nmode = "auto"\n# mine\n')["config"]
    assert config == '[nvidia-container-runtime]\nmode = "legacy"\n# mine\n'


def test_packages_of_dgx_os_are_left_alone() -> None:
    """DGX OS brings its own toolkit: nothing is installed, pinned or held; what is missing is said."""
    plan = planned(dgx=True, packages=INSTALLED)
    assert (plan["source"], plan["install"], plan["hold"], plan["preferences"], plan["problems"]) == (
        "present",
        [],
        [],
        "",
        [],
    )
    assert "not installed" in planned(dgx=True)["problems"][0]


def test_packages_of_a_bundle_need_no_source() -> None:
    """apt knows the bundle's repository already."""
    plan = planned({"from_bundle": True, "source": "mirror", "key_url": ""})
    assert (plan["repository"], plan["problems"]) == ("", [])


@pytest.mark.parametrize(
    ("intent", "found", "words"),
    [
        ({"version": "latest"}, {}, "version 'latest' was found: one exact version"),
        ({"source": "mirror", "key_url": ""}, {}, "without a key"),
        ({"source": "upstream", "key_url": ""}, {}, "without a key"),
        ({}, {"docker": "20.10.24+dfsg1"}, "Docker 20.10.24+dfsg1 was found: CDI needs Docker 25"),
        ({}, {"packages": {toolkit.PACKAGES[0]: "1.17.8-1"}, "held": [toolkit.PACKAGES[0]]}, "apt-mark unhold"),
        ({}, {"broken": {toolkit.PACKAGES[0]: "half-configured"}}, "is half-configured: installed is allowed"),
        ({}, {"packages": {toolkit.PACKAGES[0]: "1.17.8-1"}, "engines": ["engine-a-0"]}, "while engine-a-0 run"),
        ({}, {"config": "mode ="}, "config.toml: not TOML"),
    ],
)
def test_what_stands_in_the_way_is_said_before_any_change(intent: Any, found: Any, words: str) -> None:
    """Host, role, what was found, what is allowed, what to do."""
    (problem,) = planned(intent, **found)["problems"]
    assert problem.startswith("gpu-1: container_toolkit: ")
    assert words in problem


@pytest.mark.parametrize(
    ("intent", "found"),
    [
        ({}, {"docker": "26.1.5+dfsg1"}),
        ({"mode": "runtime"}, {"docker": "20.10.24"}),
        ({}, {"packages": {toolkit.PACKAGES[0]: "1.17.8-1"}, "held": [toolkit.PACKAGES[0]], "ours": True}),
        ({"change_with_engines": True}, {"packages": {toolkit.PACKAGES[0]: "1.17.8-1"}, "engines": ["engine-a-0"]}),
        ({}, {"packages": INSTALLED, "engines": ["engine-a-0"]}),
    ],
)
def test_what_is_allowed_is_not_refused(intent: Any, found: Any) -> None:
    """Our own hold, a first install, engines that the change does not touch."""
    assert planned(intent, **found)["problems"] == []


@pytest.mark.parametrize(
    ("text", "plugin"), [("", "io.containerd.grpc.v1.cri"), ("version = 3\n", "io.containerd.cri.v1.runtime")]
)
def test_containerd_is_told_in_the_words_of_its_version(text: str, plugin: str) -> None:
    """Version 3 of the file moved the plugin; a file without a version gets 2."""
    said = tomllib.loads(toolkit.containerd(text, "cdi"))
    assert said["plugins"][plugin]["enable_cdi"] is True
    assert said["version"] == (3 if text else 2)
    said = tomllib.loads(toolkit.containerd(text, "runtime"))
    assert said["plugins"][plugin]["containerd"]["runtimes"]["nvidia"]["options"]["BinaryName"].endswith(
        "container-runtime"
    )
    again = toolkit.containerd(toolkit.containerd(text, "runtime"), "runtime")
    assert again == toolkit.containerd(text, "runtime")


def test_plan_says_which_version_will_be_there() -> None:
    """The one asked for where packages are managed, what is there where they are left alone, none without a GPU."""
    assert planned()["version"] == "1.18.2-1"
    assert planned({"source": "present"}, packages=dict.fromkeys(toolkit.PACKAGES, "1.17.8-1"))["version"] == "1.17.8-1"
    assert planned(gpus=[])["version"] == ""
