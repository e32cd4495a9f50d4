"""Every mistake at once, each as `where: what was found: what is allowed; what to do`."""

from __future__ import annotations

from typing import Any

import pytest

import stackplan
from tests.unit.stackplan.stacks import fleet, intent, model, one_host, problems_of

TEN: dict[str, Any] = {
    "stack_models": [
        {"name": "a", "source": "org/a", "replicas": "many"},
        {"name": "A", "source": "org/b", "engine_args": ["--port=1"]},
        {"name": "c", "source": "relative/path/c", "hosts": ["gpu-9"]},
    ],
    "stack_engines": {"image": "vllm/vllm-openai", "base_prot": 8101},
    "stack_router": {"session_headers": ["x-request-id"]},
    "stack_edge": {"image": "haproxy:latest", "timeouts": {"client_seconds": 5}},
}
TEN_PLACES = [
    "stack_modles",
    "stack_models[0].replicas",
    "stack_models[2].source",
    "stack_engines.base_prot",
    "stack_models[1].name",
    "stack_models[2].hosts",
    "stack_models[1].engine_args",
    "stack_engines.image",
    "stack_edge.image",
    "stack_router.session_headers",
    "stack_edge.timeouts.client_seconds",
]


def test_problems_names_every_mistake_of_a_file_in_one_run() -> None:
    """Ten mistakes and one, of shape, of names and of sense, give as many sentences: no class hides another."""
    found = stackplan.problems(TEN, fleet(), ["stack_models", "stack_modles"])
    assert [sentence.split(":")[0] for sentence in found] == TEN_PLACES


def test_problems_finds_nothing_in_a_sound_inventory() -> None:
    """A right intent, with prefix or without, has no problems."""
    assert problems_of(fleet()) == []
    assert stackplan.problems({"models": intent()["stack_models"]}, one_host(), ["stack_models"]) == []


def test_plan_refuses_with_the_same_problems() -> None:
    """`plan` raises what `problems` says; nothing is planned half."""
    with pytest.raises(stackplan.PlanError) as caught:
        stackplan.plan(TEN, fleet())
    assert caught.value.problems == stackplan.problems(TEN, fleet())


CASES: list[tuple[str, dict[str, Any], str]] = [
    ("no model", {"models": []}, "stack_models: no model was found"),
    (
        "kv events without index",
        {"router": {"kv_events": True, "prefix_index": False}},
        "stack_router.kv_events: true was found with stack_router.prefix_index false",
    ),
    ("kv events in arguments", {"engines": {"args": ["--kv-events-config={}"]}}, "--kv-events-config was found"),
    (
        "port taken by kv events",
        {"router": {"kv_events": True}, "engines": {"kv_events_base_port": 8102}},
        "port 8102 was found twice, for engine-qwen-0 (kv-events) and engine-qwen-1 (http)",
    ),
    ("missing name", {"models": [{"source": "a/b"}]}, "stack_models[0].name: nothing was found"),
    ("unknown key", {"models": [model(replica=1)]}, "write replicas"),
    ("zero replicas", {"models": [model(replicas=0)]}, "stack_models[0].replicas: 0 was found"),
    ("same slug", {"models": [model(), model(name="Qwen")]}, "as in stack_models[0]"),
    ("alias of another", {"models": [model(aliases=["b"]), model(name="b")]}, "as in stack_models[1].name"),
    ("alias twice", {"models": [model(aliases=["x", "x"])]}, "stack_models[0].aliases[1]: 'x' was found"),
    (
        "adapter called like an alias",
        {"models": [model(aliases=["x"]), model(name="b", adapters=[{"name": "x", "source": "/a"}])]},
        "stack_models[1].adapters[0].name: 'x' was found, as in stack_models[0].aliases[0]",
    ),
    (
        "adapter's folder",
        {"models": [model(adapters=[{"name": "x", "source": "/a=b"}])]},
        "'/a=b' was found: allowed is an absolute path without = and ,",
    ),
    ("owned by adapters", {"models": [model(engine_args=["--lora-modules", "x=/a"])]}, "--lora-modules was found"),
    ("source", {"models": [model(source="./here")]}, "'./here' was found: allowed is an absolute path"),
    ("owned flag", {"engines": {"args": ["--tensor-parallel-size=2"]}}, "--tensor-parallel-size was found"),
    ("owned flag, short", {"models": [model(engine_args=["-tp", "2"])]}, "-tp was found"),
    ("secret", {"engines": {"env": {"HF_TOKEN": "hf_abc"}}}, "engine_hub_token"),
    ("gpus without gpu", {"engines": {"device": "cpu"}, "models": [model(gpus_per_replica=2)]}, "device cpu"),
    ("gpu without gpus", {"models": [model(gpus_per_replica=0)]}, "device gpu"),
    ("too many gpus", {"models": [model(gpus_per_replica=9)]}, "needs 9 neighbouring GPUs"),
    ("too many replicas", {"models": [model(replicas=9)]}, "replica 9 of 9"),
    ("unknown pin", {"models": [model(hosts=["nowhere"])]}, "'nowhere' was found"),
    ("no tag", {"edge": {"image": "haproxy"}}, "neither tag nor digest"),
    ("latest", {"observe": {"prometheus_image": "prom/prometheus:latest"}}, "latest moves"),
    ("no reference", {"router": {"image": "No Such Image"}}, "no image reference"),
    ("model image", {"models": [model(image="vllm:latest")]}, "stack_models[0].image"),
    (
        "client below server",
        {"edge": {"timeouts": {"client_seconds": 10}}},
        "stack_edge.timeouts.server_seconds (1800)",
    ),
    ("stop below answer", {"engines": {"shutdown_timeout_seconds": 9}}, "stack_engines.shutdown_timeout_seconds: 9"),
    ("drain below answer", {"router": {"drain_timeout_seconds": 9}}, "stack_router.drain_timeout_seconds: 9"),
    ("lease below answer", {"router": {"lease_ttl_seconds": 9}}, "stack_router.lease_ttl_seconds: 9"),
    ("pool outlives engine", {"engines": {"keep_alive_seconds": 60}}, "pool_idle_seconds: 60 was found"),
    ("body below buffer", {"edge": {"max_body_bytes": 1000}}, "stack_edge.max_body_bytes: 1000"),
    ("id per request", {"router": {"session_headers": ["x-request-id"]}}, "would scatter sessions"),
    ("header twice", {"router": {"session_headers": ["x-a", "x-a"]}}, "x-a was found 2 times"),
    ("port range", {"edge": {"bind_port": 70000}}, "70000 was found: allowed is at most 65535"),
    ("engines beyond the last port", {"engines": {"base_port": 65535}}, "port 65536 was found for engine-qwen-1"),
    ("port twice", {"edge": {"bind_port": 9090}}, "port 9090 was found twice"),
    ("engine on the router's port", {"engines": {"base_port": 9904}}, "engine-qwen-0 (http) and router (proxy)"),
    ("bind address", {"edge": {"bind_address": "everywhere"}}, "an IPv4 address"),
    ("a list for a mapping", {"edge": ["bind_port"]}, "stack_edge: ['bind_port'] was found: allowed is a mapping"),
    ("unquoted version", {"edge": {"haproxy_version": 3.0}}, "stack_edge.haproxy_version: 3.0 was found"),
]


@pytest.mark.parametrize(("sections", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_problems_says_where_what_and_what_to_do(sections: dict[str, Any], expected: str) -> None:
    """One mistake gives one sentence: place, finding, what is allowed, what to do."""
    found = problems_of(**sections)
    assert len(found) == 1, found
    assert expected in found[0]
    assert found[0].count(": ") >= 1
    assert "; " in found[0]


def test_problems_never_repeats_a_secret() -> None:
    """What was written where a secret might be is not echoed."""
    found = problems_of(engines={"env": {"HF_TOKEN": "hf_secret", "OTHER": ["hf_secret"]}, "hub_token": "hf_secret"})
    assert len(found) == 3
    assert not [sentence for sentence in found if "hf_secret" in sentence]


def _hosts(**addresses: str | None) -> list[dict[str, Any]]:
    return [
        {"name": name, "address": address, "groups": ["edge", "engines"], "gpus": 8}
        for name, address in addresses.items()
    ]


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (_hosts(a="10.0.0.1", b=None), "host b: stack_address: nothing was found"),
        (_hosts(a="10.0.0.1", b="gpu.local"), "host b: stack_address: 'gpu.local' was found"),
        (_hosts(a="10.0.0.1", b="127.0.0.1"), "the other hosts cannot reach it"),
        (_hosts(a="10.0.0.1", b="10.0.0.1"), "as on host a"),
        ([{"name": "a", "groups": ["edge"]}], "no host in group engines"),
        ([{"name": "a", "groups": ["engines"], "gpus": 8}], "no host in group edge"),
        ([{"name": "a", "groups": ["edge", "engines"], "gpus": "eight"}], "stack_gpus: 'eight' was found"),
    ],
)
def test_problems_checks_the_hosts(hosts: list[dict[str, Any]], expected: str) -> None:
    """Each host needs an address the others can reach, and each duty a host."""
    assert [sentence for sentence in problems_of(hosts) if expected in sentence]


def test_one_host_needs_no_address() -> None:
    """A stack on one machine talks over loopback."""
    planned = stackplan.plan(intent(), one_host())
    assert {listen["address"] for service in planned["services"] for listen in service["ports"]} == {
        "127.0.0.1",
        "0.0.0.0",
    }


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("stack_modles", "stack_models"), ("stack_edges", "stack_edge"), ("stack_adress", "stack_address")],
)
def test_unknown_names_are_told_with_the_nearest_right_one(name: str, nearest: str) -> None:
    """A misspelt section would be ignored in silence: Ansible knows no unknown variable."""
    (found,) = stackplan.problems(intent(), one_host(), [name, "stack_models", "other"])
    assert found.startswith(f"{name}: unknown variable")
    assert found.endswith(f"write {nearest}")


def test_null_is_a_setting_not_set() -> None:
    """`image: null` means the default image, so that an inventory can pass on what is not defined."""
    assert problems_of(edge={"image": None, "timeouts": None}, engines={"image": None}) == []
