"""Beside engines on GPUs: who counts, who watches, and who may ask."""

from __future__ import annotations

from typing import Any

import stackplan
from tests.unit.stackplan.stacks import fleet, intent, one_host, services


def test_every_gpu_host_has_an_exporter_over_all_its_gpus() -> None:
    """Also over those no engine uses; a host without GPUs has none."""
    planned = stackplan.plan(intent(), fleet())
    found = {each["host"]: each["gpus"] for each in services(planned, "gpu_exporter")}
    assert found == {"gpu-1": list(range(8)), "gpu-2": list(range(8))}
    assert services(stackplan.plan(intent(engines={"device": "cpu"}), fleet()), "gpu_exporter") == []


def test_no_exporter_where_nobody_reads_it() -> None:
    """A stack without Prometheus."""
    hosts = [{**host, "groups": [group for group in host["groups"] if group != "observe"]} for host in fleet()]
    assert services(stackplan.plan(intent(), hosts), "gpu_exporter") == []


def test_the_counters_are_only_where_the_exporter_is() -> None:
    """Three columns each, as the exporter reads them."""
    planned = stackplan.plan(intent(), fleet())
    assert stackplan.gpu_counters(planned, "edge-1") == ""
    rows = stackplan.gpu_counters(planned, "gpu-1").splitlines()
    assert all(len(row.split(", ", 2)) == 3 and row.split(", ")[1] in ("gauge", "counter") for row in rows)
    assert {"DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_ROW_REMAP_FAILURE"} <= {row.split(",")[0] for row in rows}


def watched(hosts: list[dict[str, Any]], **engines: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    planned = stackplan.plan(intent(engines=engines), hosts)
    edge = next(host["name"] for host in planned["hosts"] if "edge" in host["groups"])
    told: list[dict[str, Any]] = stackplan.router_config(planned, edge)["engines"]
    return planned, told


def test_routers_are_told_whom_to_ask_about_which_gpus() -> None:
    """The watcher of an engine's own host, and the engine's GPUs by their numbers there."""
    planned, told = watched(fleet())
    assert [(each["gpu_watch"], each["gpus"]) for each in told] == [
        ("http://10.0.0.3:9401", [0]),
        ("http://10.0.0.4:9401", [0]),
    ]
    assert planned["gpu_watch"]["gpu-1"]["gpus"] == 8


def test_only_edges_may_ask_a_watcher() -> None:
    """And the host itself; on one machine it listens on loopback and needs no rule."""
    planned, _ = watched(fleet())
    (rule,) = [rule for rule in planned["firewall"]["gpu-1"] if rule["service"] == "gpu-watch"]
    assert rule == {"service": "gpu-watch", "port": 9401, "sources": ["10.0.0.3", "10.0.0.1", "10.0.0.2"]}
    alone, told = watched(one_host())
    assert told[0]["gpu_watch"] == "http://127.0.0.1:9401"
    assert alone["firewall"] == {"box": []}


def test_nobody_is_asked_where_nobody_watches() -> None:
    """Switched off, or engines on the CPU."""
    for engines in ({"gpu_watch": False}, {"device": "cpu"}):
        planned, told = watched(fleet(), **engines)
        assert planned["gpu_watch"] == {}
        assert not any("gpu_watch" in each for each in told)
