"""Each molecule scenario as one test: check, converge, idempotence, verify on a host made for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.docker_daemon import ensure_docker

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
# Scenarios that nobody has seen hold from beginning to end: what they are about is not proven in a container yet.
UNSEEN = (
    "bundle-default",
    "container_toolkit-full",
    "container_toolkit-upgrade",
    "docker-upgrade",
    "gpu_driver-upgrade",
    "host_tuning-full",
)


@pytest.mark.docker
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_molecule_scenario_holds(scenario: str) -> None:
    """The role does what it says on a fresh host, says so before, changes nothing the second time."""
    if scenario in UNSEEN:
        pytest.skip(
            f"not seen to hold from beginning to end yet: molecule test -s {scenario} runs it on any Docker host"
        )
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
    """`<role>-default` exists for each role: a role without one is a role nobody ran."""
    roles = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
    assert roles <= {name.removesuffix("-default") for name in SCENARIOS if name.endswith("-default")}
