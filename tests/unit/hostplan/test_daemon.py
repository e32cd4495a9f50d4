"""daemon.json: merged and never replaced, a restart only for what needs one, and never in passing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostplan import daemon

ROTATED = {"log-opts": {"max-size": "50m", "max-file": "5"}}


def planned(intent: dict[str, Any] | None = None, now: dict[str, Any] | None = None, **found: Any) -> dict[str, Any]:
    """The plan for a host, one with a daemon of Docker 28 unless `found` says otherwise."""
    return daemon.plan(intent or {}, {"now": now or {}, "server": "28.3.0", **found}, "box")


def test_fresh_host_rotates_its_logs_without_being_told() -> None:
    """Before the first start everything can be filled in."""
    plan = planned({"settings": {"live-restore": True}}, server="")
    assert plan["wanted"] == {**ROTATED, "live-restore": True}
    assert plan["restart"] == []


def test_running_daemon_is_not_restarted_for_what_is_only_filled_in() -> None:
    """Rotation waits for a restart that happens anyway, and says so."""
    plan = planned({"settings": {"live-restore": True}})
    assert (plan["wanted"], plan["restart"]) == ({"live-restore": True}, [])
    assert plan["waiting"] == ["log-opts"]
    plan = planned({"data_root": "/srv/docker"})
    assert (plan["wanted"], plan["waiting"]) == ({**ROTATED, "data-root": "/srv/docker"}, [])
    assert plan["restart"] == ["log-opts", "data-root"]


@pytest.mark.parametrize("now", [{"log-driver": "journald"}, {"log-driver": "none"}])
def test_another_log_driver_is_somebodys_choice(now: dict[str, Any]) -> None:
    """Nothing is filled in beside it."""
    assert planned({}, now, server="")["wanted"] == now


def test_what_the_file_says_of_rotation_stays_unless_asked_otherwise() -> None:
    """Filled-in values never win over the file; variables do."""
    now = {"log-opts": {"max-size": "10m"}}
    assert planned({}, now, server="")["wanted"]["log-opts"] == {"max-size": "10m", "max-file": "5"}
    asked = planned({"log_max_size": "1g", "log_max_files": 2}, now, server="")
    assert asked["wanted"]["log-opts"] == {"max-size": "1g", "max-file": "2"}


def test_every_variable_becomes_the_daemons_own_word_for_it() -> None:
    """Data root, mirrors, pools, storage driver, limits and shared memory."""
    intent = {
        "data_root": "/srv/docker",
        "storage_driver": "overlay2",
        "registry_mirrors": ["https://mirror.example"],
        "address_pools": [{"base": "10.200.0.0/16", "size": 24}],
        "ulimits": {"memlock": -1, "nofile": {"soft": 65536, "hard": 1048576}},
        "shm_size": "1g",
        "extra": {"features": {"cdi": True}},
    }
    wanted = planned(intent, {"features": {"buildkit": True}}, server="")["wanted"]
    assert wanted["default-ulimits"] == {
        "memlock": {"Name": "memlock", "Soft": -1, "Hard": -1},
        "nofile": {"Name": "nofile", "Soft": 65536, "Hard": 1048576},
    }
    assert wanted["features"] == {"buildkit": True, "cdi": True}
    assert wanted["default-address-pools"] == [{"base": "10.200.0.0/16", "size": 24}]
    assert (wanted["data-root"], wanted["storage-driver"], wanted["default-shm-size"]) == (
        "/srv/docker",
        "overlay2",
        "1g",
    )


def test_feature_that_is_read_at_the_start_needs_a_restart_others_do_not() -> None:
    """A reload answers yes to features.cdi and changes nothing."""
    assert planned({"extra": {"features": {"cdi": True}}})["restart"][-1] == "features.cdi"
    assert planned({"extra": {"features": {"buildkit": True}}})["restart"] == []
    assert planned({"extra": {"features": {"cdi": True}}}, {**ROTATED, "features": {"cdi": True}})["changed"] == []


@pytest.mark.parametrize(
    ("intent", "now", "found", "words"),
    [
        (
            {"shm_size": "1g"},
            ROTATED,
            {"engines": ["engine-a-0"]},
            "default-shm-size in /etc/docker/daemon.json needs a restart",
        ),
        ({"data_root": "/srv"}, {}, {"command": "dockerd --data-root=/x -H fd://"}, "data-root is wanted in"),
        (
            {"data_root": "/srv"},
            {},
            {"root": "/var/lib/docker", "kept": 7},
            "7 images and containers under /var/lib/docker",
        ),
        ({"storage_driver": "vfs"}, {}, {"driver": "overlay2", "kept": 1}, "storage-driver would change"),
        ({"log_max_size": "1m"}, {"log-driver": "journald"}, {}, "with the log driver journald"),
        ({"address_pools": [{"base": "10.0.0.1/8", "size": 24}]}, {}, {}, "docker_address_pools[0].base: '10.0.0.1/8'"),
        (
            {"address_pools": [{"base": "10.0.0.0/16", "size": 8}]},
            {},
            {},
            "docker_address_pools[0].size: 8 was found: 16 to 32",
        ),
        ({"extra": {"features": {"cdi": True}}}, {}, {"server": "20.10.24+dfsg1"}, "CDI needs Docker 25"),
    ],
)
def test_what_stands_in_the_way_is_said_before_any_change(intent: Any, now: Any, found: Any, words: str) -> None:
    """Host, role, what was found, what is allowed, what to do."""
    (problem,) = planned(intent, now, **found)["problems"]
    assert problem.startswith("box: docker: ")
    assert words in problem


@pytest.mark.parametrize("intent", [{"restart_with_engines": True}, {"drains": True}])
def test_restart_under_engines_is_allowed_to_whoever_drains_or_says_so(intent: dict[str, Any]) -> None:
    """With a drain to run first, or when told."""
    assert planned({**intent, "shm_size": "1g"}, engines=["engine-a-0"])["problems"] == []


_JSON = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=3),
    lambda deep: st.dictionaries(st.text(max_size=2), deep, max_size=3),
)
_OBJECT = st.dictionaries(st.text(max_size=2), _JSON, max_size=4)


@given(_OBJECT, _OBJECT)
def test_merge_loses_no_key_and_is_done_once(now: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Every key of both is there, and merging again changes nothing."""
    result = daemon.merged(now, wanted)
    assert set(result) == set(now) | set(wanted)
    assert daemon.merged(result, wanted) == result
    assert daemon.changes(result, daemon.merged(result, wanted)) == []
