"""Each molecule scenario as one test: check, converge, idempotence, verify on a host made for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.docker_daemon import ensure_docker
from tests.support.scenarios import LONG

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
# Roles that change a host, as a fresh server, with nearly every variable, and from an older state. One scenario may
# show two.
HOST_ROLES = ("container_toolkit", "docker", "gpu_driver", "gpu_watch", "host_tuning")
# One needs the other: what deploys the edge deploys the router.
TOGETHER = {"router": "edge-default"}
KINDS = {
    "gpu_driver-upgrade": {"full", "upgrade"},
    "gpu_watch-full": {"full", "upgrade"},
    "host_tuning-full": {"full", "upgrade"},
}


@pytest.mark.docker
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_molecule_scenario_holds(scenario: str) -> None:
    """The role does what it says on a fresh host, says so before, changes nothing the second time."""
    ensure_docker()
    venv = ROOT / ".venv"
    env = os.environ | {
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(venv),
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        ["molecule", "test", "--scenario-name", scenario],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-80:])


def test_every_role_has_a_default_scenario() -> None:
    """`<role>-default` exists for each role, or the one it shares: a role without one is a role nobody ran."""
    roles = [path.name for path in (ROOT / "roles").iterdir() if path.is_dir()]
    assert {TOGETHER.get(role, f"{role}-default") for role in roles} <= set(SCENARIOS)


def test_scenarios_that_begin_first_exist() -> None:
    """A name that fits nothing would put nothing in order, and nobody would notice."""
    assert set(LONG) <= set(SCENARIOS)


@pytest.mark.parametrize("role", HOST_ROLES)
def test_role_that_changes_a_host_is_shown_fresh_full_and_upgraded(role: str) -> None:
    """Three ways to find a server: untouched, with wishes of its own, with what an earlier release left."""
    own = [name for name in SCENARIOS if name.startswith(f"{role}-")]
    shown = set().union(*(KINDS.get(name, {name.removeprefix(f"{role}-")}) for name in own))
    assert shown >= {"default", "full", "upgrade"}
