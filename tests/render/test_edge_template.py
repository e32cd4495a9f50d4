"""The edge's templates: accepted by the HAProxy that runs here, the same bytes from every renderer."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import pytest

from stackplan.__main__ import edge_templates
from tests.support.certificates import self_signed
from tests.support.playbooks import ansible_playbook
from tests.support.stack import edge_config, haproxy, haproxy_version, render

MODELS: dict[str, dict[str, int]] = {
    "one model, one engine": {"tiny": 1},
    "one model, eight engines": {"meta/Llama-3.3-70B": 8},
    "three models": {"tiny": 2, "Qwen/Qwen3-8B": 1, "big-1.5": 4},
}
CHANGES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "small buffers": {"buffer_bytes": 16384, "max_body_bytes": 65536},
    "large buffers, threads": {"buffer_bytes": 1048576, "threads": min(2, os.cpu_count() or 1), "maxconn": 100000},
    "no session headers": {"session_headers": []},
    "two addresses": {"bind": [{"address": "127.0.0.1", "port": 8080}, {"address": "::1", "port": 8080}]},
    "no retries": {"retries": 0},
    "few routes": {
        "routes": [
            {"path": "/v1/completions", "methods": ["POST"], "kind": "inference"},
            {"path": "/v1/models", "methods": ["GET", "HEAD"], "kind": "router"},
        ]
    },
}
EVERYTHING: dict[str, Any] = {
    "deciders": [
        {name: f"127.0.0.1:99{index}{at}" for at, name in enumerate(("spop", "http", "events", "proxy"), 1)}
        for index in range(3)
    ],
    "tls": {"certificate": "/run/secrets/ironrack/tls.pem", "hsts_seconds": 600},
    "plain": {"address": "127.0.0.1", "port": 8081, "acme": "127.0.0.1:8888"},
    "auth": {"keys_path": "/run/secrets/ironrack/keys.map"},
    "tenants": [
        {"name": "acme", "requests_per_minute": 60, "concurrency": 8, "cache_salt": True, "models": ["tiny", "big-1.5"]}
    ],
    "peers": [{"name": f"edge-{name}", "address": "127.0.0.1", "port": 10000 + at} for at, name in enumerate("ab")],
    "peer_name": "edge-a",
    "admin": {"address": "127.0.0.1", "port": 8406, "token_path": "/run/secrets/ironrack/admin-tokens"},
    "engine_key_path": "/run/secrets/ironrack/engine.map",
    "traces": {"per_million": 10_000},
    "priorities": True,
}
VERSIONS = ("2.6", "3.0", "3.1", "3.2")
ANSIBLE = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: edge}
      vars: {stack_action: config}
    - ansible.builtin.copy: {content: "{{ item.value }}", dest: "{{ folder }}/{{ item.key | basename }}", mode: "0644"}
      loop: "{{ edge_files | dict2items }}"
"""


def _check(path: Path) -> str:
    done = subprocess.run([haproxy(), "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return "\n".join(line for line in done.stderr.splitlines() if "[NOTICE]" not in line)


def _config(models: str, changes: str, folder: Path, version: str = "") -> dict[str, Any]:
    settings = {"spoe_path": str(folder / "spoe.cfg"), "haproxy_version": version or haproxy_version(haproxy())}
    return edge_config(MODELS[models], **CHANGES[changes] | settings)


@pytest.mark.parametrize(("models", "changes"), [*itertools.product(MODELS, CHANGES)])
def test_config_is_accepted_without_a_warning(models: str, changes: str, tmp_path: Path) -> None:
    """Whatever the plan asks for, HAProxy has nothing to complain about."""
    assert not _check(render(_config(models, changes, tmp_path), tmp_path))


@pytest.mark.parametrize("models", MODELS)
def test_everything_at_once_is_accepted_without_a_warning(models: str, tmp_path: Path) -> None:
    """Certificate, keys, tenants, operators, peers, traces and several routers."""
    self_signed(tmp_path, "edge.test").rename(tmp_path / "tls.pem")
    (tmp_path / "keys.map").write_text(f"{'a' * 64} acme|60|8|salt\n")
    (tmp_path / "engine.map").write_text("engine Bearer secret\n")
    (tmp_path / "admin-tokens").write_text("b" * 64 + "\n")
    path = render(_config(models, "defaults", tmp_path) | EVERYTHING, tmp_path)
    path.write_text(path.read_text().replace("/run/secrets/ironrack", str(tmp_path)))
    assert not _check(path)


@pytest.mark.parametrize(("peers", "told"), [([], "handover"), (EVERYTHING["peers"], "ironrack")])
def test_every_table_has_somebody_to_be_told(peers: list[dict[str, Any]], told: str, tmp_path: Path) -> None:
    """Other edges where there are some, else the next process; of tenants always that one: each edge counts alone."""
    config = _config("three models", "defaults", tmp_path) | EVERYTHING | {"peers": peers}
    lines = render(config, tmp_path).read_text().splitlines()
    tables = [line.split() for line in lines if line.lstrip().startswith("stick-table")]
    assert {table[-2] for table in tables} == {"peers"}
    assert {table[-1] for table in tables if "gpc0_rate(60s),conn_cur" in table} == {"handover"}
    assert {table[-1] for table in tables if "gpc0_rate(60s),conn_cur" not in table} == {told}


@pytest.mark.parametrize("version", VERSIONS)
def test_agent_speaks_as_the_version_wants(version: str, tmp_path: Path) -> None:
    """HAProxy 3.1 made the agent's protocol a mode of its own and its settings the backend's."""
    text = render(_config("three models", "defaults", tmp_path, version), tmp_path).read_text()
    spoe = (tmp_path / "spoe.cfg").read_text()
    new = version in {"3.1", "3.2"}
    assert ("mode spop" in text, "mode tcp" in text) == (new, not new)
    assert ("timeout hello" in spoe, "timeout idle" in spoe) == (not new, not new)


def test_every_file_says_who_owns_it(tmp_path: Path) -> None:
    """The first line tells the person who opens the file where to change it instead."""
    path = render(_config("three models", "defaults", tmp_path), tmp_path)
    for file in (path, tmp_path / "spoe.cfg"):
        assert file.read_text().startswith("# Managed by Ironrack: edit the inventory, not this file.\n")


def _asked_for(templates: dict[str, str], name: str) -> set[str]:
    """The template and every part that it includes or imports, and they in turn."""
    parts = jinja2.meta.find_referenced_templates(jinja2.Environment(autoescape=False).parse(templates[name]))
    return {name}.union(*(_asked_for(templates, part) for part in parts if part))


def test_every_part_is_in_a_configuration() -> None:
    """No part is left that nobody includes: what a reader changes reaches the edge, and shows as a changed release."""
    templates = edge_templates()
    assert _asked_for(templates, "haproxy.cfg.j2") | _asked_for(templates, "spoe.cfg.j2") == set(templates)


@pytest.mark.parametrize("name", edge_templates())
def test_a_part_says_the_same_wherever_its_newlines_are_trimmed(name: str) -> None:
    """Ansible drops the last newline of what is included, and keeps spaces before a tag: neither may matter."""
    lines = edge_templates()[name].splitlines()
    assert "/" not in name or lines[-1].endswith(("%}", "#}"))
    assert not [line for line in lines if line.lstrip() != line and line.lstrip().startswith(("{%", "{#"))]


def test_ansible_writes_the_same_bytes(tmp_path: Path) -> None:
    """The role and the plain renderer agree, so that committed renders show what a deploy writes."""
    config = _config("three models", "defaults", tmp_path) | EVERYTHING
    plain = render(config, tmp_path)
    folder, play = tmp_path / "ansible", tmp_path / "play.yml"
    folder.mkdir()
    play.write_text(ANSIBLE)
    extra = json.dumps({"edge_config": config, "folder": str(folder), "ansible_python_interpreter": sys.executable})
    done = ansible_playbook("-i", "localhost,", "-c", "local", "-e", extra, play)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in (plain.name, "spoe.cfg"):
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes()


def test_timeouts_are_those_of_the_plan(tmp_path: Path) -> None:
    """One table of timeouts: what the configuration says is what was given, in seconds."""
    config = _config("one model, one engine", "defaults", tmp_path)
    config["timeouts"] |= {"client_seconds": 3721, "server_seconds": 3611, "queue_seconds": 47, "connect_seconds": 13}
    text = render(config, tmp_path).read_text()
    for line in ("timeout client 3721s", "timeout server 3611s", "timeout queue 47s", "timeout connect 13s"):
        assert line in text
