"""A real engine with our additions, started as the plan says: what it takes from the edge, and what it tells."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import stackplan
from tests.e2e.conftest import Demo, wait_for_engine
from tests.support.processes import ROOT, free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

KEY = "sk-0123456789abcdef"
NAME = "test-engine-fields"
LONG = "the sea and the wind " * 80  # several cache blocks


class Engine:
    """One container, asked the way the edge asks."""

    def __init__(self, url: str) -> None:
        self.url = url

    def chat(self, content: str = LONG, key: str = KEY, body: dict[str, object] | None = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 2, "temperature": 0}
        return requests.post(
            f"{self.url}/v1/chat/completions",
            json={**asked, **(body or {})},
            headers={"authorization": f"Bearer {key}", **named},
            timeout=120,
        )

    def cached(self, salt: str, clients: str = "") -> int:
        """Prompt tokens that a request with the edge's `salt` (and one of the client's own) found in the cache."""
        answer = self.chat(body={"cache_salt": clients} if clients else None, x_ironrack_cache_salt=salt)
        return int(answer.headers["x-ironrack-usage"].split(",")[1])


def _planned(image: str, model: str, port: int, root: Path) -> dict[str, Any]:
    intent = {
        "stack_models": [{"name": "tiny", "source": model, "aliases": ["gpt-4o", "org/other"], "max_model_len": 2048}],
        "stack_engines": {
            "device": "cpu",
            "image": image,
            "base_port": port,
            "cpu_kv_cache_gib": 1,
            "api_key_enabled": True,
            "cache_directory": str(root / "cache"),
            "args": ["--enforce-eager"],
        },
        "stack_router": {"admission": {"classes": [{"name": "default"}, {"name": "batch", "priority": 5}]}},
    }
    hosts = [{"name": "box", "groups": ["edge", "engines"]}]
    services: list[dict[str, Any]] = stackplan.plan(intent, hosts, root=str(root))["services"]
    return next(service for service in services if service["kind"] == "engine")


def _run(service: dict[str, Any]) -> list[str]:
    line = ["docker", "run", "--detach", "--name", NAME, "--network", "host", "--ipc", service["ipc"] or "host"]
    line += ["--env-file", service["env_file"]]
    line += [f"--env={name}={value}" for name, value in service["env"].items()]
    line += [f"--volume={m['source']}:{m['target']}{':ro' if m['read_only'] else ''}" for m in service["mounts"]]
    return [*line, "--entrypoint", service["entrypoint"][0], service["image"], *service["entrypoint"][1:]]


@pytest.fixture(scope="module")
def engine(brought_up: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Another engine of the demonstration's image and model, with a key, aliases and classes."""
    inspected = [
        "docker",
        "inspect",
        "--format",
        "{{.Config.Image}} {{index .Config.Cmd 0}}",
        brought_up.stack.engines[0].name,
    ]
    image, model = subprocess.run(inspected, capture_output=True, text=True, check=True).stdout.split()
    root, port = tmp_path_factory.mktemp("engine"), free_ports(1)[0]
    service = _planned(image, model, port, root)
    (root / "engine").symlink_to(ROOT / "roles" / "engine" / "files")
    Path(service["env_file"]).parent.mkdir()
    Path(service["env_file"]).write_text(f"VLLM_API_KEY={KEY}\n")
    subprocess.run(["docker", "rm", "--force", NAME], capture_output=True, check=False)
    try:
        subprocess.run([*_run(service), *service["command"]], capture_output=True, check=True)
        url = f"http://127.0.0.1:{port}"
        wait_for_engine(NAME, url)
        yield Engine(url)
    finally:
        subprocess.run(["docker", "rm", "--force", NAME], capture_output=True, check=False)


def test_engine_answers_only_who_knows_its_key(engine: Engine) -> None:
    """The key of the file counts; probes and scrapes need none."""
    assert engine.chat("hi", key="wrong").status_code == 401
    assert engine.chat("hi").status_code == 200
    assert requests.get(f"{engine.url}/metrics", timeout=10).status_code == 200


def test_engine_answers_to_every_name(engine: Engine) -> None:
    """Aliases are the engine's own names; answers carry the first."""
    for name in ("tiny", "gpt-4o", "org/other"):
        answer = engine.chat("hi", body={"model": name})
        assert (answer.status_code, answer.json()["model"]) == (200, "tiny")


def test_priority_is_the_edges_word(engine: Engine) -> None:
    """What a client writes there is not even looked at; without the edge's word it is."""
    assert engine.chat("hi", body={"priority": "junk"}).status_code == 400
    assert engine.chat("hi", body={"priority": "junk"}, x_ironrack_priority="5").status_code == 200


def test_cache_is_shared_within_a_salt_alone(engine: Engine) -> None:
    """The edge's salt keeps tenants apart, whatever salt a client names; the usage header shows it."""
    assert engine.cached("acme") == 0
    assert engine.cached("acme") > 0
    assert engine.cached("globex", clients="acme") == 0


def test_stream_passes_untouched(engine: Engine) -> None:
    """Streams carry their usage themselves, where a client asks for it."""
    answer = engine.chat(body={"stream": True}, x_ironrack_priority="0")
    assert "x-ironrack-usage" not in answer.headers
    assert answer.text.rstrip().endswith("data: [DONE]")
