"""Configurations and the Compose project follow from the plan alone."""

from __future__ import annotations

from typing import Any

import pytest

import stackplan
from router.config import check
from stackplan import edge_config, router_config
from tests.unit.stackplan.stacks import fleet, intent, model, one_host, services

TWO = [model(replicas=2), model(name="Org/Other", source="org/other", replicas=1)]


def _plan(**sections: Any) -> dict[str, Any]:
    return stackplan.plan(intent(models=TWO, **sections), fleet())


def test_router_and_edge_know_the_same_engines_and_backends() -> None:
    """A server name the router answers is one HAProxy has, in the backend both call the same."""
    planned = _plan()
    router, edge = stackplan.router_config(planned, "edge-1"), stackplan.edge_config(planned, "edge-1")
    urls = {engine["name"]: engine["url"] for engine in router["engines"]}
    servers = {s["name"]: f"http://{s['address']}:{s['port']}" for m in edge["models"] for s in m["servers"]}
    assert urls == servers
    assert router["models"] == [{"name": m["name"], "backend": m["backend"]} for m in edge["models"]]
    assert [m["backend"] for m in edge["models"]] == ["model-qwen", "model-org-other"]


def test_router_and_edge_know_every_name_of_a_model() -> None:
    """The router reads what was asked for; the edge, where the router is silent, finds the same backend."""
    other = model(aliases=["gpt-4o"], adapters=[{"name": "sql", "source": "/srv/sql"}])
    planned = stackplan.plan(intent(models=[other]), one_host())
    [routed] = stackplan.router_config(planned, "box")["models"]
    assert (routed["aliases"], routed["adapters"]) == (["gpt-4o"], ["sql"])
    [behind] = stackplan.edge_config(planned, "box")["models"]
    assert behind["names"] == ["qwen", "gpt-4o", "sql"]


def test_edge_and_router_meet_on_the_same_ports_and_headers() -> None:
    """Both sides of every connection come from one place."""
    planned = _plan(router={"spop_port": 7001, "http_port": 7002, "events_port": 7003})
    router, edge = stackplan.router_config(planned, "edge-2"), stackplan.edge_config(planned, "edge-2")
    assert router["listen"] == edge["router"]
    assert router["listen"]["spop"] == "127.0.0.1:7001"
    assert router["sessions"]["headers"] == edge["session_headers"]
    assert router["edge"]["buffer_bytes"] == edge["buffer_bytes"]


def test_edge_hosts_that_do_not_hear_each_other_have_no_gate() -> None:
    """Routers that do not see each other's load must not hold sessions back; those of one host share it and may."""
    assert stackplan.router_config(_plan(), "edge-1")["routing"]["gate_seconds"] == 0.0
    alone = stackplan.plan(intent(), one_host())
    assert stackplan.router_config(alone, "box")["routing"]["gate_seconds"] == 0.25
    assert stackplan.router_config(_plan(router={"gate_seconds": 0.1}), "edge-1")["routing"]["gate_seconds"] == 0.1
    four = stackplan.plan(intent(router={"processes": 4}), one_host())
    assert stackplan.router_config(four, "box", 3)["routing"]["gate_seconds"] == 0.25
    assert stackplan.router_config(_plan(router={"gossip": True}), "edge-1")["routing"]["gate_seconds"] == 0.25


def test_routers_of_one_host_have_ports_of_their_own_and_one_memory() -> None:
    """The edge asks each where it listens; what they share is the same folder, and only where there are several."""
    planned = _plan(router={"processes": 3})
    configs = stackplan.router_configs(planned, "edge-1")
    assert list(configs) == ["router", "router-1", "router-2"]
    assert [config["listen"] for config in configs.values()] == stackplan.edge_config(planned, "edge-1")["deciders"]
    assert configs["router-2"]["listen"]["spop"] == "127.0.0.1:9921"
    assert [config["decider"] for config in configs.values()] == [
        {"index": index, "of": 3, "shared": "/run/ironrack"} for index in range(3)
    ]
    services = [service for service in planned["services"] if service["host"] == "edge-1"]
    routers = [service for service in services if service["kind"] == "router"]
    assert {
        mount["source"] for router in routers for mount in router["mounts"] if mount["target"] == "/run/ironrack"
    } == {"router-run"}
    [edge] = [service for service in services if service["kind"] == "edge"]
    assert edge["after"] == ["router", "router-1", "router-2"]
    alone = stackplan.router_config(_plan(), "edge-1")
    assert alone["decider"] == {"index": 0, "of": 1, "shared": ""}
    assert alone == stackplan.router_config(_plan(), "edge-1", 0)


def test_routers_of_other_hosts_are_peers_where_that_is_asked_for() -> None:
    """They are asked where they listen beyond loopback, and never themselves."""
    planned = _plan(router={"gossip": True, "processes": 2})
    found = stackplan.router_config(planned, "edge-1", 1)
    assert found["peers"] == ["http://10.0.0.2:9902", "http://10.0.0.2:9912"]
    assert found["listen"]["http"] == "10.0.0.1:9912"
    assert stackplan.router_config(_plan(), "edge-1")["peers"] == []


def test_kv_events_let_edge_hosts_hear_each_others_load() -> None:
    """Routers that know the same of caches know the same of load: peers, an address they reach, and the gate."""
    planned = _plan(router={"kv_events": True})
    found = stackplan.router_config(planned, "edge-1")
    assert found["peers"] == ["http://10.0.0.2:9902"]
    assert (found["routing"]["gossip"], found["routing"]["gate_seconds"]) == (True, 0.25)
    assert found["listen"]["http"] == "10.0.0.1:9902"
    [rule] = [each for each in planned["firewall"]["edge-1"] if (each["service"], each["port"]) == ("router", 9902)]
    assert "10.0.0.2" in rule["sources"]
    alone = stackplan.router_config(stackplan.plan(intent(router={"kv_events": True}), one_host()), "box")
    assert (alone["peers"], alone["listen"]["http"]) == ([], "127.0.0.1:9902")


def test_changed_addresses_make_another_container_and_other_settings_do_not() -> None:
    """A running router cannot move, and takes over everything else by itself."""

    def container(**changes: Any) -> dict[str, Any]:
        services: dict[str, Any] = stackplan.compose_project(_plan(router=changes), "edge-1")["services"]
        router: dict[str, Any] = services["router"]
        return router

    assert container() == container(gate_seconds=0.5, health_interval_seconds=9, admission={"max_requests": 7})
    assert container() != container(events_port=7003)
    assert container()["cap_add"] == ["NET_ADMIN"]
    assert "cap_add" not in container(sever_frozen=False)


def test_router_reads_what_the_plan_writes() -> None:
    """Every router.yml of a plan is one the router takes."""
    planned = _plan(router={"processes": 2, "gossip": True, "admission": {"classes": [{"name": "batch"}]}})
    for config in stackplan.router_configs(planned, "edge-1").values():
        assert check(config).admission.classes[0].name == "batch"


def test_long_timeouts_follow_the_longest_answer() -> None:
    """One number changed keeps the table in order: client, lease, drain and stop outlast the answer."""
    planned = _plan(edge={"timeouts": {"server_seconds": 7200}})
    settings = planned["settings"]
    outer = [
        settings["edge"]["timeouts"]["client_seconds"],
        settings["router"]["lease_ttl_seconds"],
        settings["router"]["drain_timeout_seconds"],
        settings["engines"]["shutdown_timeout_seconds"],
    ]
    assert min(outer) >= 7200


def test_compose_project_has_the_services_of_its_host_only() -> None:
    """Each host gets its own, with GPUs as devices of the CDI specification."""
    planned = _plan()
    on_edge, on_gpu = (stackplan.compose_project(planned, host) for host in ("edge-1", "gpu-1"))
    assert set(on_edge["services"]) == {"router", "edge", "prometheus", "alertmanager", "node-exporter"}
    devices = on_gpu["services"]["engine-qwen-0"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "cdi", "device_ids": ["nvidia.com/gpu=0"], "capabilities": ["gpu"]}]
    assert all(service["network_mode"] == "host" for service in on_edge["services"].values())


def test_compose_keeps_a_dollar_a_dollar() -> None:
    """Compose replaces `$name` in what it reads; ours is meant literally."""
    planned = stackplan.plan(intent(engines={"env": {"PATTERN": "a$b"}}), one_host())
    assert stackplan.compose_project(planned, "box")["services"]["engine-qwen-0"]["environment"]["PATTERN"] == "a$$b"


def test_compose_stops_the_edge_before_its_router() -> None:
    """Compose stops in reverse order of dependence: an edge whose router has gone would stop only when killed."""
    planned = stackplan.plan(intent(), one_host())
    assert stackplan.compose_project(planned, "box")["services"]["edge"]["depends_on"] == ["router"]


def test_routers_are_told_where_engines_tell_what_they_hold() -> None:
    """On the engine's own host's address, only where it is wanted; and whose prompts are salted."""
    digest = "0" * 64
    tenants = [{"name": name, "key_hashes": [digest.replace("0", name[0])], "cache_salt": name == "a"} for name in "ab"]
    planned = _plan(router={"kv_events": True}, edge={"tenants": tenants})
    config = stackplan.router_config(planned, "edge-1")
    assert config["routing"]["kv_events"] is True
    feeds = [engine["kv_events"] for engine in config["engines"]]
    assert feeds[0] == {"endpoint": "tcp://10.0.0.3:8601", "replay": "tcp://10.0.0.3:8602"}
    assert [tenant.get("salted", False) for tenant in config["tenants"]] == [True, False]
    silent = stackplan.router_config(_plan(), "edge-1")
    assert silent["routing"]["kv_events"] is False
    assert all("kv_events" not in engine for engine in silent["engines"])


def test_traces_reach_edge_router_and_engines_together() -> None:
    """One setting: the edge samples, the router exports, vLLM is told where and by which protocol."""
    url = "http://10.0.0.9:4318/v1/traces"
    planned = stackplan.plan(intent(observe={"traces": {"endpoint": url, "ratio": 0.25}}), one_host())
    assert edge_config(planned, "box")["traces"] == {"per_million": 250_000}
    assert router_config(planned, "box")["traces"] == {"endpoint": url}
    engine, router = (services(planned, kind)[0] for kind in ("engine", "router"))
    assert engine["command"][engine["command"].index("--otlp-traces-endpoint") + 1] == url
    assert engine["env"]["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "http/protobuf"
    assert engine["env"]["OTEL_SERVICE_NAME"] == engine["name"]
    assert router["env"]["IRONRACK_TRACES"] == url


@pytest.mark.parametrize("traces", [{}, {"ratio": 1.0}, {"endpoint": None}])
def test_without_an_endpoint_nothing_of_traces_is_planned(traces: dict[str, Any]) -> None:
    """Off is as if there were no such setting."""
    planned = stackplan.plan(intent(observe={"traces": traces}), one_host())
    assert planned["services"] == stackplan.plan(intent(), one_host())["services"]
    assert "traces" not in edge_config(planned, "box") | router_config(planned, "box")


def test_engines_can_be_left_out_of_traces() -> None:
    """For images without the packages: edge and router still tell."""
    traces = {"endpoint": "http://10.0.0.9:4318/v1/traces", "engines": False}
    planned = stackplan.plan(intent(observe={"traces": traces}), one_host())
    [engine, *_] = services(planned, "engine")
    assert "--otlp-traces-endpoint" not in engine["command"]
    assert not [name for name in engine["env"] if name.startswith("OTEL")]
    assert "traces" in router_config(planned, "box")
