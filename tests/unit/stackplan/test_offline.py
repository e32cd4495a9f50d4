"""The plan of a site that reaches nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import stackplan
from stackplan.images import bundled, trouble
from tests.unit.stackplan.stacks import intent, model, one_host, services

HEX = "0123456789abcdef"


def test_engines_ask_no_hub_and_images_carry_no_digest() -> None:
    """What `docker load` brings has no digest of a registry; a hub that cannot be reached must not be waited for."""
    offline = stackplan.offline(stackplan.plan(intent(models=[model()]), one_host()))
    assert all(engine["env"]["HF_HUB_OFFLINE"] == "1" for engine in services(offline, "engine"))
    assert not [service["image"] for service in offline["services"] if "@" in service["image"]]
    assert all(each["weights_staged"] for each in offline["settings"]["models"])


def test_going_offline_twice_is_going_offline() -> None:
    """A second time changes nothing, and the first leaves the plan it was given alone."""
    plan = stackplan.plan(intent(), one_host())
    again = stackplan.plan(intent(), one_host())
    once = stackplan.offline(plan)
    assert stackplan.offline(once) == once
    assert plan == again


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("acme/a:1@sha256:" + "1" * 64, "acme/a:1-111111111111"),
        ("host:5000/a@sha256:" + "2" * 64, "host:5000/a:222222222222"),
        ("host:5000/a:v1@sha256:" + "2" * 64, "host:5000/a:v1-222222222222"),
        ("acme/a:1", "acme/a:1"),
    ],
)
def test_bundled_name_shows_the_pin(image: str, name: str) -> None:
    """A registry's port is no tag."""
    assert bundled(image) == name


@given(st.text(HEX, min_size=64, max_size=64), st.sampled_from(["", ":1", ":v0.29.0"]))
def test_bundled_name_is_a_pinned_reference(digest: str, tag: str) -> None:
    """The plan's own rule for images holds for it, and it stays what it is."""
    name = bundled(f"acme/a{tag}@sha256:{digest}")
    assert trouble(name) is None
    assert bundled(name) == name
