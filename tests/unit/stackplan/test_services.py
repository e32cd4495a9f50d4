"""What runs where: complete, absolute, and no secret in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

import stackplan
from stackplan.compose import compose_project
from stackplan.engines import PLUGINS
from tests.unit.stackplan.stacks import fleet, intent, model, one_host, services


def _engine(**sections: Any) -> dict[str, Any]:
    return services(stackplan.plan(intent(**sections), one_host()), "engine")[0]


def _flag(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_plan_is_plain_data() -> None:
    """What a plan holds survives JSON unchanged: any backend can take it."""
    planned = stackplan.plan(intent(), fleet())
    assert json.loads(json.dumps(planned)) == planned


def test_services_come_in_starting_order() -> None:
    """Engines before the router, the router before the edge, then what observes them."""
    kinds = [service["kind"] for service in stackplan.plan(intent(), one_host())["services"]]
    assert kinds == [
        "engine",
        "engine",
        "router",
        "edge",
        "prometheus",
        "alertmanager",
        "node_exporter",
        "gpu_exporter",
    ]


def test_gpus_come_through_the_hook_where_the_runtime_injects_them() -> None:
    """NVIDIA's hook knows GPUs by their numbers; a specification by the names in it."""
    planned = stackplan.plan(intent(engines={"gpu_injection": "runtime"}), one_host())
    engine = compose_project(planned, "box")["services"]["engine-qwen-1"]
    (device,) = engine["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["1"], "capabilities": ["gpu"]}


def test_engine_on_gpus_gets_its_devices_and_vllms_flags() -> None:
    """Tensor parallel over exactly the GPUs of the replica, the model's public name, a stop that waits for answers."""
    engine = _engine(models=[model(gpus_per_replica=2, max_model_len=4096, engine_args=["--trust-remote-code"])])
    assert engine["gpus"] == [0, 1]
    assert engine["entrypoint"][-2:] == ["vllm", "serve"]
    assert engine["command"][0] == "Qwen/Qwen3-8B"
    assert _flag(engine["command"], "--served-model-name") == "qwen"
    assert _flag(engine["command"], "--tensor-parallel-size") == "2"
    assert _flag(engine["command"], "--max-model-len") == "4096"
    assert int(_flag(engine["command"], "--shutdown-timeout")) < engine["stop_grace_seconds"]
    assert engine["command"][-1] == "--trust-remote-code"
    assert (engine["ipc"], engine["init"], engine["ulimits"]["memlock"]) == ("host", True, -1)


def test_engine_on_the_cpu_asks_for_no_gpu() -> None:
    """Without GPUs: KV space by environment, no GPU flags, no limits a small machine refuses."""
    engine = _engine(engines={"device": "cpu", "cpu_kv_cache_gib": 1})
    assert engine["gpus"] == []
    assert engine["env"]["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert not {"--tensor-parallel-size", "--gpu-memory-utilization"} & set(engine["command"])
    assert engine["ulimits"] == {}
    assert "cpu" in engine["image"]


@pytest.mark.parametrize(
    ("settings", "offline"),
    [({"source": "/srv/models/a"}, True), ({"weights_staged": True}, True), ({}, False)],
    ids=["folder", "staged", "hub"],
)
def test_engine_starts_without_the_hub_when_weights_are_there(settings: dict[str, Any], offline: bool) -> None:
    """A restart must not depend on the hub once the weights are on the host."""
    engine = _engine(models=[model(**settings)])
    assert ("HF_HUB_OFFLINE" in engine["env"]) is offline
    sources = [mount["source"] for mount in engine["mounts"]]
    assert ("/srv/models/a" in sources) is ("source" in settings)


def test_hub_token_reaches_engines_as_a_file_only() -> None:
    """The environment names a file below a read-only mount; the token itself is nowhere in the plan."""
    engine = _engine(engines={"hub_token_enabled": True})
    assert engine["env"]["HF_TOKEN_PATH"] == "/run/secrets/ironrack/hub-token"
    (mount,) = [mount for mount in engine["mounts"] if mount["target"] == "/run/secrets/ironrack"]
    assert (mount["source"], mount["read_only"]) == ("/opt/ironrack/secrets/engine", True)
    assert "HF_TOKEN" not in engine["env"]


def test_aliases_are_names_of_the_engine_itself() -> None:
    """vLLM answers to every name, so nobody has to rewrite a request; the first is the one it answers with."""
    command = _engine(models=[model(aliases=["gpt-4o", "default"])])["command"]
    at = command.index("--served-model-name")
    assert command[at + 1 : at + 5] == ["qwen", "gpt-4o", "default", "--host"]


def test_adapters_are_loaded_by_every_engine_and_mounted_where_they_are_folders() -> None:
    """A folder is mounted under its own path, read-only; one from the hub goes through the hub's cache."""
    adapters = [{"name": "sql", "source": "/srv/sql"}, {"name": "law", "source": "org/law"}]
    engine = _engine(models=[model(source="/srv/base", adapters=adapters)])
    at = engine["command"].index("--enable-lora")
    assert engine["command"][at + 1 : at + 4] == ["--lora-modules", "sql=/srv/sql", "law=org/law"]
    mounts = {mount["target"]: mount for mount in engine["mounts"]}
    assert {"/srv/base", "/srv/sql", "/root/.cache/huggingface"} <= set(mounts)
    assert mounts["/srv/sql"]["read_only"]
    assert "HF_HUB_OFFLINE" not in engine["env"], "the adapter must be fetched"
    assert "HF_HUB_OFFLINE" in _engine(models=[model(source="/srv/base", adapters=adapters[:1])])["env"]
    assert "--enable-lora" not in _engine()["command"]


def test_engines_key_is_neither_in_the_plan_nor_in_the_compose_file() -> None:
    """The plan names a file; whoever reads compose.yml, or lists processes, learns nothing."""
    planned = stackplan.plan(intent(engines={"api_key_enabled": True}), one_host())
    engine = services(planned, "engine")[0]
    assert engine["env_file"] == "/opt/ironrack/secrets/engine.env"
    project = compose_project(planned, "box")["services"]
    assert project["engine-qwen-0"]["env_file"] == [{"path": "/opt/ironrack/secrets/engine.env", "required": False}]
    assert "env_file" not in project["router"]
    assert "VLLM_API_KEY" not in json.dumps([planned, project])
    assert _engine()["env_file"] is None


@pytest.mark.parametrize(("priorities", "sorted_by_priority"), [((0, 0), False), ((0, 5), True)])
def test_engines_sort_by_priority_where_classes_have_one(priorities: tuple[int, int], sorted_by_priority: bool) -> None:
    """vLLM refuses a priority unless it is told to sort by it; the edge then speaks for every request."""
    classes = [{"name": f"class-{at}", "priority": priority} for at, priority in enumerate(priorities)]
    planned = stackplan.plan(intent(router={"admission": {"classes": classes}}), one_host())
    command = services(planned, "engine")[0]["command"]
    assert ("--scheduling-policy" in command) is sorted_by_priority
    assert stackplan.edge_config(planned, "box")["priorities"] is sorted_by_priority


def test_engine_is_started_by_what_ends_it_when_it_is_stuck() -> None:
    """It is asked where it answers, by the name it serves; with 0 seconds nothing stands in front of vLLM."""
    engine = _engine(engines={"stuck_after_seconds": 120, "stuck_restarts": 1})
    program, *told = engine["entrypoint"][1:-2]
    assert engine["entrypoint"][0] == "python3"
    assert program == f"{PLUGINS}/restart_stuck.py"
    assert _flag(told, "--url") == engine["health"]["url"].removesuffix("/health")
    assert _flag(told, "--model") == _flag(engine["command"], "--served-model-name")
    assert (_flag(told, "--after"), _flag(told, "--most")) == ("120", "1")
    bare = _engine(engines={"trusted_fields": False, "hold_headers": False, "stuck_after_seconds": 0})
    assert bare["entrypoint"] == ["vllm", "serve"]
    assert PLUGINS not in {mount["target"] for mount in bare["mounts"]}


def test_trusted_fields_see_a_request_before_anything_else_of_ours() -> None:
    """vLLM puts each further middleware around those before it."""
    command = _engine()["command"]
    loaded = [command[at + 1] for at, flag in enumerate(command) if flag == "--middleware"]
    assert loaded == ["hold_headers.HoldHeaders", "trusted_fields.TrustedFields"]
    bare = _engine(engines={"trusted_fields": False, "hold_headers": False, "stuck_after_seconds": 0})
    assert "--middleware" not in bare["command"]
    assert "PYTHONPATH" not in bare["env"]
    assert "PYTHONPATH" in _engine(engines={"hold_headers": False})["env"]


@pytest.mark.parametrize(("seconds", "said"), [(None, "15"), (40, "40"), (0, None)])
def test_engine_keeps_a_client_alive_while_it_computes_a_long_prompt(seconds: int | None, said: str | None) -> None:
    """A comment every so many seconds before the first token, so that nobody in between gives a stream up; 0: none."""
    asked = {} if seconds is None else {"engines": {"sse_keep_alive_seconds": seconds}}
    command = _engine(**asked)["command"]
    found = _flag(command, "--sse-keep-alive-interval") if "--sse-keep-alive-interval" in command else None
    assert found == said


def test_compiled_graphs_are_kept_per_image() -> None:
    """Graphs compiled by one image are no use to the next, and must not meet it."""
    images = ["vllm/vllm-openai:v1", "vllm/vllm-openai:v2"]
    folders = [
        {m["source"] for m in _engine(engines={"image": image})["mounts"] if "compiled" in m["source"]}
        for image in images
    ]
    assert not folders[0] & folders[1]


def test_engines_of_a_host_take_ports_in_order() -> None:
    """Each engine its own port, from the base port up, on the host's private address."""
    planned = stackplan.plan(intent(models=[model(replicas=4)]), fleet())
    ports = {(s["host"], s["ports"][0]["address"], s["ports"][0]["port"]) for s in services(planned, "engine")}
    first, second = ("gpu-1", "10.0.0.3"), ("gpu-2", "10.0.0.4")
    assert ports == {(*host, port) for host in (first, second) for port in (8101, 8102)}


def test_firewall_admits_the_edges_and_the_scraper_to_engines() -> None:
    """Beyond loopback an engine hears its own host, the edges and who observes it, and nobody else."""
    planned = stackplan.plan(intent(models=[model(replicas=1)]), fleet())
    engines = [rule for rule in planned["firewall"]["gpu-1"] if rule["service"] == "engine-qwen-0"]
    assert engines == [{"service": "engine-qwen-0", "port": 8101, "sources": ["10.0.0.3", "10.0.0.1", "10.0.0.2"]}]


def test_firewall_hides_metrics_and_admin_of_edges_and_leaves_clients_alone() -> None:
    """What a Prometheus elsewhere scrapes listens on the private address, for it alone; the edge's own port is free."""
    rules = stackplan.plan(intent(), fleet())["firewall"]["edge-2"]
    both = ["10.0.0.2", "10.0.0.1"]
    assert {(rule["service"], rule["port"]): rule["sources"] for rule in rules} == {
        ("router", 9902): both,
        ("edge", 8405): both,
        ("edge", 10000): both,
        ("node-exporter", 9100): both,
    }


def test_firewall_is_empty_when_everything_listens_on_loopback() -> None:
    """One machine needs no rules: nothing but the edge can be reached."""
    assert stackplan.plan(intent(), one_host())["firewall"] == {"box": []}


def test_low_port_gets_exactly_the_right_it_needs() -> None:
    """Binding port 80 needs one capability; every other one stays dropped."""
    planned = stackplan.plan(intent(edge={"bind_port": 80}), one_host())
    (edge,) = services(planned, "edge")
    assert (edge["cap_drop"], edge["cap_add"], edge["user"]) == (["ALL"], ["NET_BIND_SERVICE"], "0:0")


def test_no_observer_no_exporters() -> None:
    """Without a host in group observe nothing is scraped, so nothing is exported."""
    hosts = [{"name": "box", "groups": ["edge", "engines"], "gpus": 2}]
    kinds = {service["kind"] for service in stackplan.plan(intent(), hosts)["services"]}
    assert kinds == {"engine", "router", "edge"}


def test_kv_events_take_two_ports_of_an_engine_for_edges_alone() -> None:
    """vLLM binds them on all addresses, so the firewall guards them even on one machine; without them none is there."""
    planned = stackplan.plan(intent(router={"kv_events": True}), fleet())
    engines = services(planned, "engine")
    by_host = {
        engine["name"]: [(p["name"], p["address"], p["port"]) for p in engine["ports"][1:]] for engine in engines
    }
    told = [("kv-events", "0.0.0.0", 8601), ("kv-replay", "0.0.0.0", 8602)]
    assert by_host == {"engine-qwen-0": told, "engine-qwen-1": told}
    command = engines[0]["command"]
    assert json.loads(command[command.index("--kv-events-config") + 1]) == {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": "tcp://*:8601",
        "replay_endpoint": "tcp://*:8602",
        "topic": "kv",
    }
    rules = {rule["port"]: rule["sources"] for rule in planned["firewall"]["gpu-1"]}
    assert rules[8601] == rules[8602] == ["10.0.0.3", "10.0.0.1", "10.0.0.2"]
    alone = stackplan.plan(intent(router={"kv_events": True}), one_host())["firewall"]["box"]
    assert [(rule["port"], rule["sources"]) for rule in alone] == [
        (port, ["127.0.0.1"]) for port in (8601, 8602, 8603, 8604)
    ]
    silent = services(stackplan.plan(intent(), fleet()), "engine")
    assert all(len(engine["ports"]) == 1 and "--kv-events-config" not in engine["command"] for engine in silent)


def test_every_containers_log_is_rotated_as_asked() -> None:
    """No service can fill a disk with what it says: the limits are texts, as Docker's driver wants them."""
    planned = stackplan.plan(intent(observe={"log_file_mib": 10, "log_files": 3}), one_host())
    found = [service["logging"] for service in compose_project(planned, "box")["services"].values()]
    assert found == [{"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}] * len(found)
    assert len(found) == len(planned["services"])
