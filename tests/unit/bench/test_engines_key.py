"""The engines' own API key: who gets it, and who never sees it."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.bench.engines import remote
from tests.bench.engines.client import run
from tests.bench.engines.subjects import prepare
from tests.bench.errors import BenchError
from tests.bench.overhead.subjects import Wanted

KEY = "sk-secret-of-engines"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """As `openssl rand` would leave it."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    return file


class Locked(BaseHTTPRequestHandler):
    """An engine's list of models, metrics and answers: as vLLM, it wants its key below /v1 alone."""

    def do_GET(self) -> None:
        if self.path == "/metrics":
            names = ("prefix_cache_queries", "prefix_cache_hits", "prompt_tokens")
            self._say(200, "".join(f"vllm:{name}_total 1\n" for name in names))
        else:
            self._say(*self._allowed(json.dumps({"data": [{"id": "m"}]})))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        text = 'data: {"choices":[{"delta":{"content":"yes"}}]}\n\ndata: [DONE]\n\n'
        self._say(*self._allowed(text))

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def _allowed(self, text: str) -> tuple[int, str]:
        return (200, text) if self.headers["authorization"] == f"Bearer {KEY}" else (401, "who are you?")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def engine() -> Iterator[str]:
    """The URL of one that is locked."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_engines_that_want_a_key_get_it(engine: str, key_file: Path) -> None:
    """Without it, the error says which option brings it."""
    assert remote.model([engine, engine], None, remote.key(key_file)) == "m"
    with pytest.raises(BenchError, match=r"401.*--api-key-file"):
        remote.model([engine, engine], None, remote.key(None))


@pytest.mark.parametrize(("key", "wrong"), [(KEY, set()), ("", {"401: who are you?"})])
async def test_every_question_brings_it(engine: str, key: str, wrong: set[str]) -> None:
    """In front of a subject that passes it on."""
    traffic = {"workload": "nameless", "model": "m", "shape_seed": "a", "text_seed": "b", "users": 2}
    times = {"warm": 0.1, "seconds": 0.3, "think": 0.05, "system": 1, "history": 1, "question": 1}
    url = f"{engine}/v1/chat/completions"
    found = await run({"url": url, "engines": [engine], "key": key, "traffic": {**traffic, **times}})
    assert found["turns"]
    assert {turn["wrong"] for turn in found["turns"] if turn["wrong"]} == wrong


@pytest.mark.parametrize("text", ["", "\n", f"{KEY}\n{KEY}\n", f"key: {KEY}"])
def test_a_file_without_one_key_is_refused_unquoted(tmp_path: Path, text: str) -> None:
    """Whatever it holds may be a secret."""
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(BenchError, match="not a key") as found:
        remote.key(file)
    assert KEY not in str(found.value)
    with pytest.raises(BenchError, match="--api-key-file"):
        remote.key(tmp_path / "none")


def test_no_command_line_has_it(tmp_path: Path, key_file: Path) -> None:
    """The edge reads it from a map, the router from the file itself."""
    folder = tmp_path / "state"
    folder.mkdir()
    peers = Wanted(peers=["vllm-router=x"])
    bench = prepare(peers, "m", ["10.0.0.1:8000", "10.0.0.2:8000"], (), folder, key=key_file)
    assert KEY not in repr(bench)
    holders = [path.name for path in folder.rglob("*") if path.is_file() and KEY in path.read_text()]
    assert holders == ["engine.map"]
    assert f"engine_key_file: {key_file}" in (folder / "router.yml").read_text()
    assert str(folder / "engine.map") in (folder / "haproxy.cfg").read_text()
