"""The running demonstration: brought up once a session by scripts/up, every service healthy before each test."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from demo import conversation, deployed, docker
from demo.conversation import Turn
from demo.deployed import Stack
from tests.e2e.busy import EDGE, Busy, busy_stack
from tests.support.docker_daemon import bringing_docker
from tests.support.processes import ROOT, wait_until

HEALTHY_SECONDS = 600.0
DOCKER_STEP = "Install Docker and Compose ..."


@dataclass(frozen=True)
class Demo:
    """The stack and the report scripts/up ended with."""

    stack: Stack
    report: dict[str, Any]

    def conversation(self) -> Iterator[Turn]:
        """A new conversation under a new session name; each `next` is a turn."""
        salt = uuid.uuid4().hex
        return conversation.hold(self.stack, f"test-{salt}", salt)


@pytest.fixture(scope="session")
def brought_up(request: pytest.FixtureRequest) -> Demo:
    """scripts/up, its progress shown as it comes; with a stack already up it takes seconds."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    lines: deque[str] = deque(maxlen=40)
    with (
        bringing_docker() as brought,
        capture.global_and_fixture_disabled(),
        subprocess.Popen(
            [ROOT / "scripts" / "up"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            sys.stderr.write(line)
            lines.append(line)
            if line.startswith("[") and DOCKER_STEP not in line:
                brought()
    assert process.returncode == 0, "scripts/up failed; its last lines:\n" + "".join(lines)
    report = json.loads(lines[-1])
    return Demo(deployed.read(int(report["endpoint"].rsplit(":", 1)[1])), report)


@pytest.fixture
def demo(brought_up: Demo) -> Demo:
    """The stack with every service healthy and every engine known to the router as ready."""
    wait_until(lambda: all(map(docker.healthy, services())), "every service is healthy", HEALTHY_SECONDS)
    wait_until(lambda: settled(brought_up.stack), "router and edge see everything up", HEALTHY_SECONDS)
    return brought_up


@pytest.fixture
async def busy(demo: Demo) -> AsyncIterator[Busy]:
    """The stack with a load of short turns."""
    async with busy_stack(demo.stack) as found:
        yield found


def wait_for_engine(container: str, url: str) -> None:
    """Return once an engine is healthy; fail at once, with its last lines, when it has ended instead."""
    state = ["docker", "inspect", "--format", "{{.State.Running}}", container]

    def answers() -> bool:
        if subprocess.run(state, capture_output=True, text=True, check=True).stdout.strip() != "true":
            log = subprocess.run(
                ["docker", "logs", "--tail", "40", container], capture_output=True, text=True, check=True
            )
            pytest.fail(f"{container} has ended:\n{log.stderr}")
        return requests.get(f"{url}/health", timeout=5).status_code == 200

    wait_until(answers, f"{container} answers", HEALTHY_SECONDS)


def services() -> list[str]:
    """The containers of the stack."""
    listing = [
        "docker",
        "ps",
        "--all",
        "--filter",
        "label=com.docker.compose.project=ironrack",
        "--format",
        "{{.Names}}",
    ]
    return subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()


def settled(stack: Stack) -> bool:
    """Whether the router gives work to every engine, and the edge sees the engines and the router up.

    An engine that came back is on trial until a request was answered there: where nobody asks, this does.
    """
    found = set(states(stack).values())
    if "probing" in found:
        asked = {"model": stack.model, "prompt": uuid.uuid4().hex, "max_tokens": 1}
        requests.post(f"{stack.endpoint}/v1/completions", json=asked, timeout=30)
    return found == {"ready"} and not _down()


def _down() -> set[str]:
    page = requests.get(f"{EDGE}/metrics", timeout=5).text
    families = {family.name: family for family in text_string_to_metric_families(page)}
    status = [sample for sample in families["haproxy_server_status"].samples if sample.labels["state"] == "UP"]
    return {sample.labels["server"] for sample in status if sample.value != 1}


def states(stack: Stack) -> dict[str, str]:
    """What the router holds of each engine."""
    answer = requests.get(f"{stack.router}/admin/engines", timeout=5).json()
    return {engine["name"]: engine["state"] for engine in answer["engines"]}
