"""Where Docker comes from on each system, as the role renders it: package names, and sources as apt reads them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.playbooks import ansible_playbook
from tests.support.processes import ROOT

ROLE = ROOT / "roles" / "docker"
SYSTEMS = {
    "Debian-12": {"distribution": "Debian", "distribution_version": "12.12", "distribution_release": "bookworm"},
    "Debian-13": {"distribution": "Debian", "distribution_version": "13.2", "distribution_release": "trixie"},
    "Ubuntu-22.04": {"distribution": "Ubuntu", "distribution_version": "22.04", "distribution_release": "jammy"},
    "Ubuntu-24.04": {"distribution": "Ubuntu", "distribution_version": "24.04", "distribution_release": "noble"},
}
DISTRO = {
    "Debian-12": ["docker.io", "docker-compose=2.*"],
    "Debian-13": ["docker.io", "docker-cli", "docker-compose"],
    "Ubuntu-22.04": ["docker.io", "docker-compose-v2"],
    "Ubuntu-24.04": ["docker.io", "docker-compose-v2"],
}
UPSTREAM = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin"]
# The tasks that write what apt reads; what they stand between needs a network or changes the machine.
WRITES = ("Add Docker's own repository", "Let Debian 13 lend Compose v2 and nothing else")
# Facts come from a module alone: this one says of each host what its inventory line says.
MODULE = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule(argument_spec={"facts": {"type": "dict", "required": True}}, supports_check_mode=True)
facts = module.params["facts"]
module.exit_json(changed=False, ansible_facts={"ansible_" + name: value for name, value in facts.items()})
"""


def _facts(system: str) -> dict[str, Any]:
    found = SYSTEMS[system]
    apparmor = {"status": "enabled" if found["distribution"] == "Ubuntu" else "disabled"}
    major = found["distribution_version"].split(".")[0]
    return {**found, "distribution_major_version": major, "apparmor": apparmor, "service_mgr": "systemd"}


def _tasks() -> list[dict[str, Any]]:
    block = yaml.safe_load((ROLE / "tasks" / "deploy_packages.yml").read_text())[1]["block"]
    found = [task for task in block if task["name"] in WRITES]
    assert [task["name"] for task in found] == list(WRITES)
    return found


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each system and source with `wanted.json` and what apt would read; rendered in one run."""
    folder = tmp_path_factory.mktemp("docker")
    hosts: dict[str, Any] = {}
    for system in SYSTEMS:
        for source in ("upstream", "distro"):
            name = f"{system}-{source}"
            (folder / name).mkdir()
            nothing = {"packages": [], "server": "", "compose": "", "upstream": source == "upstream"}
            hosts[name] = {"said": _facts(system), "__docker": nothing, "place": str(folder / name)}
    (folder / "library").mkdir()
    (folder / "library" / "say_facts.py").write_text(MODULE)
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    wanted = {"content": "{{ __docker_wanted | to_json }}", "dest": "{{ place }}/wanted.json", "mode": "0644"}
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults" / "main.yml"), str(ROLE / "vars" / "main.yml")],
        "tasks": [{"say_facts": {"facts": "{{ said }}"}}, *_tasks(), {"ansible.builtin.copy": wanted}],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    places = {"__docker_sources": "{{ place }}", "__docker_preferences": "{{ place }}/pins"}
    extra = {**places, "ansible_python_interpreter": sys.executable}
    argv = ["-i", str(folder / "hosts.yml"), "-c", "local", "-e", json.dumps(extra), str(folder / "play.yml")]
    done = ansible_playbook(*argv, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("source", ["upstream", "distro"])
def test_each_system_gets_the_packages_it_has(rendered: Path, system: str, source: str) -> None:
    """Names differ; AppArmor's tools come where the kernel uses it."""
    wanted = json.loads((rendered / f"{system}-{source}" / "wanted.json").read_text())
    common = ["ca-certificates", "iptables", *(["apparmor"] if system.startswith("Ubuntu") else [])]
    assert wanted == [*common, *(UPSTREAM if source == "upstream" else DISTRO[system])]


@pytest.mark.skipif(not shutil.which("apt-get"), reason="apt reads the sources; where it is not there nothing can")
@pytest.mark.parametrize("system", SYSTEMS)
def test_dockers_own_source_is_read_by_apt_as_this_systems(rendered: Path, system: str) -> None:
    """Distribution and release are in the address of the index that apt would fetch."""
    found = SYSTEMS[system]
    told = _indexes(rendered / f"{system}-upstream")
    base = f"https://download.docker.com/linux/{found['distribution'].lower()}"
    assert told == {f"{base}/dists/{found['distribution_release']}/stable"}
    text = (rendered / f"{system}-upstream" / "docker.sources").read_text()
    assert "Signed-By: /etc/apt/keyrings/docker.asc\n" in text


@pytest.mark.skipif(not shutil.which("apt-get"), reason="apt reads the sources; where it is not there nothing can")
def test_no_system_but_debian_12_borrows_compose(rendered: Path) -> None:
    """The others have Compose v2 themselves, and none gets Docker's source beside the distribution's packages."""
    told = {system: _indexes(rendered / f"{system}-distro") for system in SYSTEMS}
    lent = {"http://deb.debian.org/debian/dists/trixie/main"}
    assert told == {"Debian-12": lent, "Debian-13": set(), "Ubuntu-22.04": set(), "Ubuntu-24.04": set()}
    assert (rendered / "Debian-12-distro" / "pins").exists()
    assert not (rendered / "Ubuntu-24.04-distro" / "pins").exists()


def _indexes(folder: Path) -> set[str]:
    """Suite and component of each list of packages that a folder of sources names; nothing is fetched."""
    here = {"Etc::SourceList": "/dev/null", "Etc::SourceParts": str(folder), "State::Lists": str(folder / "lists")}
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    argv = ["apt-get", "--print-uris", "update", *(f"-oDir::{name}={value}" for name, value in here.items())]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr
    return {line.split("'")[1].split("/binary-")[0] for line in done.stdout.splitlines() if "/binary-" in line}
