"""Weights from a hub: a small one of our own, which counts what is asked, and can stop in the middle or lie."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bundle import stage_weights
from bundle.folder import Folder
from bundle.manifest import BundleError, Manifest, Weights
from bundle.needs import Needs, WeightsNeed
from bundle.request import Request

COMMIT = "c" * 40
SHARD = b"weights" * 1000
FILES = {"config.json": b"{}", "model.safetensors": SHARD, "README.md": b"hello"}


class Hub(ThreadingHTTPServer):
    """A hub with one model. `broken`: bytes after which it hangs up; `lying`: other bytes of the same length."""

    broken = 0
    lying = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.tokens: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.tokens.append(self.headers.get("Authorization", ""))
        if self.path.startswith("/api/models/acme/tiny/revision/"):
            self._send(json.dumps({"sha": COMMIT, "siblings": [_sibling(*each) for each in FILES.items()]}).encode())
        elif self.path.startswith(f"/acme/tiny/resolve/{COMMIT}/"):
            self._file(FILES[self.path.rsplit("/", 1)[1]])
        else:
            self.send_error(401)

    def _file(self, data: bytes) -> None:
        wanted = self.headers.get("Range", "")
        self.server.ranges.append(wanted)
        if self.server.lying:
            data = bytes(len(data))
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        broken, self.server.broken = self.server.broken, 0
        self._send(data[start:], 206 if wanted else 200, broken or None)

    def _send(self, data: bytes, status: int = 200, cut: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:cut])


def _sibling(name: str, data: bytes) -> dict[str, object]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    large = {"lfs": {"sha256": hashlib.sha256(data).hexdigest()}} if name.endswith(".safetensors") else {}
    return {"rfilename": name, "size": len(data), "blobId": blob, **large}


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Answers on loopback until the test ends."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _request(hub: Hub, *needs: WeightsNeed) -> Request:
    wanted = list(needs) or [WeightsNeed(source="acme/tiny", models=["tiny"], hosts=["gpu-1"])]
    return Request(needs=Needs(product="1", weights=wanted), hub_url=hub.url, weights_exclude=["*.md"])


def _folder(root: Path) -> Folder:
    return Folder(root, Manifest(product="1"))


def test_weights_lie_as_the_hubs_own_cache_does(hub: Hub, tmp_path: Path) -> None:
    """A snapshot named by its commit, and a reference for whoever asks for the branch; what no engine reads is left."""
    assert stage_weights.stage(_folder(tmp_path), _request(hub)) == ["acme/tiny"]
    base = tmp_path / "weights" / "models--acme--tiny"
    assert (base / "refs" / "main").read_text() == COMMIT
    assert {path.name for path in (base / "snapshots" / COMMIT).iterdir()} == {"config.json", "model.safetensors"}
    part = _folder(tmp_path).manifest.part("weights", "acme/tiny")
    assert isinstance(part, Weights)
    assert (part.target, part.commit) == ("models--acme--tiny", COMMIT)


def test_second_time_asks_the_hub_nothing(hub: Hub, tmp_path: Path) -> None:
    """What is whole is left alone; a damaged file alone is fetched again."""
    stage_weights.stage(_folder(tmp_path), _request(hub))
    hub.asked.clear()
    assert stage_weights.stage(_folder(tmp_path), _request(hub)) == []
    assert hub.asked == []
    shard = tmp_path / "weights/models--acme--tiny/snapshots" / COMMIT / "model.safetensors"
    shard.write_bytes(bytes(len(SHARD)))
    assert stage_weights.stage(_folder(tmp_path), _request(hub)) == ["acme/tiny"]
    assert [path.rsplit("/", 1)[1] for path in hub.asked if "resolve" in path] == ["model.safetensors"]
    assert shard.read_bytes() == SHARD


def test_download_that_broke_off_is_taken_up(hub: Hub, tmp_path: Path) -> None:
    """From the byte it had come to."""
    request = _request(hub)
    (tmp_path / "weights/models--acme--tiny/snapshots" / COMMIT).mkdir(parents=True)
    part = tmp_path / "weights/models--acme--tiny/snapshots" / COMMIT / "model.safetensors.part"
    part.write_bytes(SHARD[:1234])
    stage_weights.stage(_folder(tmp_path), request)
    assert "bytes=1234-" in hub.ranges
    assert part.with_name("model.safetensors").read_bytes() == SHARD


def test_other_bytes_than_the_hub_promised_are_refused(hub: Hub, tmp_path: Path) -> None:
    """And not kept, so that the next run does not build on them."""
    hub.lying = True
    with pytest.raises(BundleError, match="it arrived damaged"):
        stage_weights.stage(_folder(tmp_path), _request(hub))
    assert not list(tmp_path.rglob("*.part"))


def test_model_that_may_not_be_read_says_what_to_do(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the token sent, and never shown."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(BundleError) as error:
        stage_weights.stage(_folder(tmp_path), _request(hub, WeightsNeed(source="acme/gated", models=["m"], hosts=[])))
    assert "HF_TOKEN" in str(error.value)
    assert "hf_secret" not in str(error.value)
    assert hub.tokens == ["Bearer hf_secret"]


def test_folder_of_this_machine_is_copied_to_the_same_path(hub: Hub, tmp_path: Path) -> None:
    """From elsewhere if told; a folder that is not here is left out, and said."""
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "config.json").write_text("{}")
    (here / "sub" / "x").write_text("x")
    wanted = [WeightsNeed(source=name, models=["m"], hosts=["a"]) for name in ("/srv/m", "/srv/absent")]
    request = _request(hub, *wanted).model_copy(update={"weights_paths": {"/srv/m": str(here)}})
    root = tmp_path / "bundle"
    assert stage_weights.stage(_folder(root), request) == ["/srv/m"]
    assert stage_weights.stage(_folder(root), request) == []
    assert stage_weights.left_out(request) == ["/srv/absent"]
    part = _folder(root).manifest.part("weights", "/srv/m")
    assert isinstance(part, Weights)
    assert part.target == "/srv/m"
    (here / "config.json").write_text("[]")
    assert stage_weights.stage(_folder(root), request) == ["/srv/m"]
