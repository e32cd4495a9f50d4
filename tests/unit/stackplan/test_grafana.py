"""Grafana: there where it is wanted, shut unless opened, showing what the stack has."""

from __future__ import annotations

import pytest

import stackplan
from tests.unit.stackplan.stacks import fleet, intent, model, one_host, problems_of, services

SOURCES = "config/grafana/datasources/ironrack.yml"
ON = {"grafana": {"enabled": True, "admin_password_secret": "grafana"}}


def test_stack_has_no_grafana_unless_asked_for() -> None:
    """Prometheus and its alerts need none."""
    planned = stackplan.plan(intent(), one_host())
    assert not services(planned, "grafana")
    assert not [path for path in stackplan.observe_configs(planned, "box") if "grafana" in path.split("/")]
    assert not stackplan.grafana_boards(planned, "box")


def test_grafana_stands_beside_each_prometheus_and_asks_it() -> None:
    """One per host of group observe, on loopback, with Prometheus' own address."""
    planned = stackplan.plan(intent(observe={**ON, "prometheus_port": 9099}), fleet())
    [grafana] = services(planned, "grafana")
    assert grafana["host"] == "edge-1"
    assert [(port["address"], port["port"]) for port in grafana["ports"]] == [("127.0.0.1", 3000)]
    assert grafana["env"]["IRONRACK_PROMETHEUS_URL"] == "http://127.0.0.1:9099"
    assert "@sha256:" in grafana["image"]


def test_grafana_is_shut_to_people_without_a_password_by_default() -> None:
    """Nobody signs up, nobody looks without a name, and the password is in a file."""
    planned = stackplan.plan(intent(observe=ON), one_host())
    [grafana] = services(planned, "grafana")
    env = grafana["env"]
    assert (env["GF_AUTH_ANONYMOUS_ENABLED"], env["GF_USERS_ALLOW_SIGN_UP"]) == ("false", "false")
    assert env["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/ironrack/grafana"
    mounts = {mount["target"]: mount for mount in grafana["mounts"]}
    assert mounts["/run/secrets/ironrack"]["read_only"]
    assert stackplan.observe_secrets(planned, "box")["paths"] == ["/opt/ironrack/secrets/grafana/grafana"]


def test_grafana_without_a_password_has_no_administrator() -> None:
    """The image's well-known first password is never in force."""
    only_look = {"grafana": {"enabled": True, "anonymous_viewer": True}}
    [grafana] = services(stackplan.plan(intent(observe=only_look), one_host()), "grafana")
    assert grafana["env"]["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert grafana["env"]["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert not any("secrets" in mount["source"] for mount in grafana["mounts"])


def test_grafana_rules_no_alerts() -> None:
    """Alerts are Prometheus': two places that page would disagree."""
    planned = stackplan.plan(intent(observe=ON), one_host())
    assert services(planned, "grafana")[0]["env"]["GF_UNIFIED_ALERTING_ENABLED"] == "false"
    [source] = stackplan.observe_configs(planned, "box")[SOURCES]["datasources"]
    assert source["jsonData"]["manageAlerts"] is False


def test_grafana_logs_in_where_prometheus_asks_for_a_password() -> None:
    """With the same secret, from a file: it is in no configuration."""
    login = {"username": "ops", "password_hash": "$2y$10$" + "a" * 53}
    planned = stackplan.plan(intent(observe={**ON, "login": login}), one_host())
    [source] = stackplan.observe_configs(planned, "box")[SOURCES]["datasources"]
    assert (source["basicAuth"], source["basicAuthUser"]) == (True, "ops")
    assert source["secureJsonData"] == {"basicAuthPassword": "$__file{/run/secrets/ironrack/web-password}"}
    grafana = next(s for s in stackplan.observe_secrets(planned, "box")["services"] if s["service"] == "grafana")
    assert (grafana["secrets"], grafana["web"]) == (["grafana", "web-password"], {})


def test_plan_refuses_a_grafana_nobody_could_look_at() -> None:
    """Neither a password nor a look without one."""
    [found] = problems_of(observe={"grafana": {"enabled": True}})
    assert found.startswith("stack_observe.grafana: neither admin_password_secret nor anonymous_viewer was found")


def test_plan_refuses_a_grafana_image_that_moves() -> None:
    """Pinned like every other image, but only where it is used."""
    loose = {"grafana": {"enabled": True, "anonymous_viewer": True, "image": "grafana/grafana:latest"}}
    [found] = problems_of(observe=loose)
    assert found.startswith("stack_observe.grafana.image: 'grafana/grafana:latest' was found, the tag latest moves")
    assert not problems_of(observe={"grafana": {**loose["grafana"], "enabled": False}})


@pytest.mark.parametrize(
    ("sections", "engine"),
    [
        ({}, "ironrack-engine.json"),
        ({"engines": {"args": ["--kv-offloading-size", "8"]}}, "ironrack-engine.kv-offload.json"),
        ({"models": [model(engine_args=["--kv-offloading-size=8"])]}, "ironrack-engine.kv-offload.json"),
        ({"engines": {"args": ["--max-num-seqs", "8"]}}, "ironrack-engine.json"),
    ],
)
def test_panels_of_kv_offload_appear_where_it_is_on(sections: dict[str, object], engine: str) -> None:
    """The plan knows the engines' arguments, so the dashboard needs no guess."""
    planned = stackplan.plan(intent(observe=ON, **sections), one_host())
    assert stackplan.grafana_boards(planned, "box")["config/grafana/boards/ironrack-engine.json"] == engine
