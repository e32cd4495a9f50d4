"""The committed projects are fresh, and every file is accepted by the program that will read it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = sorted(path.parent for path in (ROOT / "compose").glob("*/stack.yml"))
NAMES = [project.name for project in PROJECTS]


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_committed_projects_are_fresh() -> None:
    """`scripts/render` would write what is committed: a change of the plan shows its effect in the diff."""
    _run(sys.executable, "-m", "stackplan", "--check")


def test_render_check_notices_a_stale_file(tmp_path: Path) -> None:
    """--check fails on a difference and names the file; without it the file is mended."""
    copy = tmp_path / "cpu-demo"
    shutil.copytree(ROOT / "compose" / "cpu-demo", copy)
    (copy / "compose.yml").write_text("services: {}\n")
    command = [sys.executable, "-m", "stackplan", str(copy)]
    stale = subprocess.run([*command, "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (stale.returncode, stale.stdout) == (1, f"{copy / 'compose.yml'}: stale: run scripts/render\n")
    _run(*command)
    _run(*command, "--check")


def test_render_names_the_mistakes_of_a_stack_it_cannot_plan(tmp_path: Path) -> None:
    """A wrong stack.yml gives its problems and exit 2, not a traceback."""
    (tmp_path / "stack.yml").write_text("stack_models: []\n")
    command = [sys.executable, "-m", "stackplan", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.split(":")[0]) == (2, "stack_models")


@pytest.mark.parametrize("project", PROJECTS, ids=NAMES)
def test_compose_accepts_the_project(project: Path) -> None:
    """Docker Compose reads the file it will run."""
    _run("docker", "compose", "-f", project / "compose.yml", "config", "--quiet")


@pytest.mark.parametrize("project", PROJECTS, ids=NAMES)
def test_haproxy_accepts_its_configuration(project: Path, tmp_path: Path) -> None:
    """HAProxy reads both files, from wherever they lie."""
    source = project / "config" / "edge"
    for name in ("haproxy.cfg", "spoe.cfg"):
        text = (source / name).read_text().replace("/usr/local/etc/haproxy", str(tmp_path))
        (tmp_path / name).write_text(text)
    _run("haproxy", "-c", "-f", tmp_path / "haproxy.cfg")


@pytest.mark.parametrize("project", PROJECTS, ids=NAMES)
def test_router_accepts_its_configuration(project: Path) -> None:
    """The router reads its file and finds nothing wrong."""
    _run(sys.executable, "-m", "router", "--check-config", project / "config" / "router" / "router.yml")


@pytest.mark.parametrize("project", PROJECTS, ids=NAMES)
def test_promtool_accepts_its_configuration(project: Path) -> None:
    """Prometheus' own checker reads its file."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; the deployment runs it from the Prometheus image")
    _run("promtool", "check", "config", project / "config" / "prometheus" / "prometheus.yml")


@pytest.mark.parametrize("project", PROJECTS, ids=NAMES)
def test_amtool_accepts_its_configuration(project: Path) -> None:
    """Alertmanager's own checker reads its file."""
    if shutil.which("amtool") is None:
        pytest.skip("amtool is not installed; the deployment runs it from the Alertmanager image")
    _run("amtool", "check-config", project / "config" / "alertmanager" / "alertmanager.yml")


@pytest.mark.parametrize("project", PROJECTS, ids=NAMES)
def test_router_is_built_from_this_repository(project: Path) -> None:
    """No registry has the router: Compose must find its sources."""
    build = yaml.safe_load((project / "compose.yml").read_text())["services"]["router"]["build"]
    assert (project / build["context"]).resolve() == ROOT
