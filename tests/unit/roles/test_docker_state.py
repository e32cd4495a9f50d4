"""What a host has of Docker: capabilities and settings read without failing."""

from __future__ import annotations

import pytest

from roles.docker.library import docker_state as state


def test_missing_capabilities_are_named() -> None:
    """Bit 12 is CAP_NET_ADMIN, 18 CAP_SYS_CHROOT, 21 CAP_SYS_ADMIN."""
    assert state.lacking("Name:\tx\nCapEff:\t00000000a80425fb\n") == ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]
    assert state.lacking("CapEff:\t000001ffffffffff\n") == []


@pytest.mark.parametrize("text", ["", "{}", '{"debug": true}'])
def test_settings_that_are_an_object_can_be_merged(text: str) -> None:
    """An empty file is an empty object, as for the daemon."""
    assert state.settings_problem(text) == ""


@pytest.mark.parametrize(("text", "words"), [("{", "not JSON"), ("[]", "not an object")])
def test_settings_that_are_no_object_are_described(text: str, words: str) -> None:
    """They are merged into, so they must be readable; they are never replaced."""
    assert words in state.settings_problem(text)


def test_program_that_is_not_there_is_silence_not_failure() -> None:
    """A clean host has no docker to ask."""
    assert state.ask("no-such-program-here") == ""
    assert state.ask("false") == ""


def test_data_that_a_move_would_leave_behind_is_counted() -> None:
    """Images and containers together; a daemon that does not answer keeps nothing anybody knows of."""
    told = '{"DockerRootDir": "/var/lib/docker", "Driver": "overlay2", "Images": 3, "Containers": 2}'
    assert state.data(told) == {"root": "/var/lib/docker", "driver": "overlay2", "kept": 5}
    assert state.data("") == {"root": "", "driver": "", "kept": 0}
