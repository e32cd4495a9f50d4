"""Keys, certificates and listeners of the edge follow from the plan, and no secret is in what everyone may read."""

from __future__ import annotations

import json
from typing import Any

import pytest

import stackplan
from tests.unit.stackplan.stacks import fleet, intent, model, one_host, problems_of, services

DIGEST, OTHER = "a" * 64, "b" * 64
OTHERS = {"name": "other", "key_hashes": ["d" * 64]}
TENANT = {"name": "acme", "key_hashes": [DIGEST, OTHER], "requests_per_minute": 60, "concurrency": 8}


def _plan(hosts: list[dict[str, Any]] | None = None, **edge: Any) -> dict[str, Any]:
    return stackplan.plan(intent(edge=edge), hosts or one_host())


def test_without_a_word_the_edge_asks_for_nothing() -> None:
    """No certificate, no key, no operators' listener, nobody to share a table with."""
    config, secrets = stackplan.edge_config(_plan(), "box"), stackplan.edge_secrets(_plan(), "box")
    assert not [key for key in ("tls", "plain", "auth", "tenants", "peers", "admin", "engine_key_path") if config[key]]
    assert (secrets["files"], secrets["certificate"], secrets["paths"]) == ({}, None, [])


def test_every_key_of_a_tenant_leads_to_it() -> None:
    """One line per digest: tenant, limits, and a salt where it was asked for, the same for all its keys."""
    planned = _plan(tenants=[{**TENANT, "cache_salt": True}])
    lines = stackplan.edge_secrets(planned, "box")["files"]["keys.map"].splitlines()
    assert [line.split()[0] for line in lines] == [DIGEST, OTHER]
    assert {line.split()[1].rpartition("|")[0] for line in lines} == {"acme|60|8"}
    [salt] = {line.rpartition("|")[2] for line in lines}
    assert len(salt) == 32
    assert not stackplan.edge_secrets(_plan(tenants=[TENANT]), "box")["files"]["keys.map"].endswith(f"{salt}\n")


def test_no_digest_is_in_what_everyone_may_read() -> None:
    """Compose files and configurations name the folder of secrets, never what is in it."""
    planned = _plan(tenants=[{**TENANT, "cache_salt": True}], admin={"token_hash": OTHER})
    readable = [stackplan.edge_config(planned, "box"), stackplan.router_config(planned, "box")]
    text = json.dumps([*readable, stackplan.compose_project(planned, "box")])
    assert DIGEST not in text
    assert OTHER not in text


def test_router_knows_the_tenants_rights_and_not_their_keys() -> None:
    """Models, tokens and class are the router's to keep to."""
    planned = _plan(tenants=[{**TENANT, "models": ["qwen"], "tokens_per_minute": 1000}])
    assert stackplan.router_config(planned, "box")["tenants"] == [
        {"name": "acme", "models": ["qwen"], "tokens_per_minute": 1000, "class": ""}
    ]


def test_edge_knows_every_name_a_tenant_may_ask_for() -> None:
    """A model on the list brings its aliases and adapters; an adapter alone brings itself; no list is all of them."""
    tenants = [{**TENANT, "models": ["big"]}, {**OTHERS, "models": ["law"]}, {"name": "all", "key_hashes": ["c" * 64]}]
    big = model(name="big", aliases=["large"], adapters=[{"name": "law", "source": "/srv/law"}])
    planned = stackplan.plan(intent(models=[big], edge={"tenants": tenants}), one_host())
    found = {each["name"]: each["models"] for each in stackplan.edge_config(planned, "box")["tenants"]}
    assert found == {"acme": ["big", "large", "law"], "other": ["law"], "all": []}


def test_certificate_comes_from_where_it_lies() -> None:
    """From the controller, from the host, or made there."""
    for tls, certificate in [
        ({"certificate": "/a.pem"}, {"source": "controller", "path": "/a.pem"}),
        ({"certificate": "/a.pem", "certificate_on": "host"}, {"source": "host", "path": "/a.pem"}),
        ({"self_signed": True}, {"source": "self_signed", "path": ""}),
    ]:
        planned = _plan(tls=tls)
        assert stackplan.edge_secrets(planned, "box")["certificate"] == certificate
        [edge] = services(planned, "edge")
        assert "/run/secrets/ironrack" in {mount["target"] for mount in edge["mounts"]}
        assert edge["health"]["url"] == "http://127.0.0.1:8405/health"


def test_low_port_makes_root_the_owner_of_secrets() -> None:
    """A container's root without capabilities reads only what is root's."""
    high, low = _plan(tls={"self_signed": True}), _plan(tls={"self_signed": True, "redirect_port": 80})
    assert [stackplan.edge_secrets(planned, "box")["owner"] for planned in (high, low)] == [99, 0]
    assert stackplan.edge_config(low, "box")["plain"] == {"address": "0.0.0.0", "port": 80, "acme": ""}


def test_edge_alone_hands_over_to_its_next_process_without_a_port() -> None:
    """A socket in the folder that the edge has for its sockets: nothing to collide with, nothing for a firewall."""
    planned = _plan(runtime_socket="/run/edge/admin.sock")
    config = stackplan.edge_config(planned, "box")
    assert (config["peer_name"], config["handover_path"]) == ("edge-box", "/run/edge/peers.sock")
    [edge] = services(planned, "edge")
    assert {port["name"] for port in edge["ports"]} == {"http", "metrics"}
    assert "/run/edge" in {mount["target"] for mount in edge["mounts"] if not mount["read_only"]}


def test_several_edges_are_peers_and_nobody_else_is() -> None:
    """Each knows all of them by their private addresses, and the firewall lets in edges only."""
    planned = stackplan.plan(intent(), fleet())
    config = stackplan.edge_config(planned, "edge-2")
    assert config["peer_name"] == "edge-edge-2"
    assert [(peer["name"], peer["address"]) for peer in config["peers"]] == [
        ("edge-edge-1", "10.0.0.1"),
        ("edge-edge-2", "10.0.0.2"),
    ]
    rules = {rule["port"]: rule["sources"] for rule in planned["firewall"]["edge-1"]}
    assert rules[10000] == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("edge", "words"),
    [
        ({"tenants": [{"name": "a", "key_hashes": ["sk-secret"]}]}, "64 small hexadecimal digits"),
        ({"tenants": [TENANT, {**TENANT, "name": "b", "key_hashes": [OTHER]}]}, "a key belongs to one tenant"),
        ({"tenants": [TENANT, {**TENANT, "key_hashes": ["c" * 64]}]}, "each tenant has its own name"),
        ({"tenants": [{**TENANT, "models": ["nope"]}]}, "nope"),
        ({"tenants": [{**TENANT, "priority_class": "nope"}]}, "nope"),
        ({"tls": {"self_signed": True, "certificate": "/a.pem"}}, "one of both"),
        ({"tls": {"redirect_port": 80}}, "redirect_port"),
        ({"tls": {"self_signed": True, "acme_responder": "a:80"}}, "acme_responder"),
        ({"runtime_socket": "/run/edge/peers.sock"}, "where a reload hands over"),
    ],
)
def test_contradictions_are_told(edge: dict[str, Any], words: str) -> None:
    """Each is one sentence that says where; no key is repeated in it."""
    found = problems_of(edge=edge)
    assert len(found) == 1, found
    assert words in found[0]
    assert "sk-secret" not in found[0]
    assert DIGEST not in found[0]
