"""A real Prometheus as a process, and exporters whose pages were recorded elsewhere."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import Child, free_ports, wait_until

PROGRAM = shutil.which("prometheus") or ""
Pages = Mapping[str, Callable[[], str]]


@contextmanager
def pages(texts: Pages) -> Iterator[int]:
    """Serve texts on loopback, each at `/` plus its name; gives the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = texts[self.path.strip("/")]().encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            # A reader that did not wait is what some tests are about.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the test does."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def prometheus(folder: Path, config: Mapping[str, Any], rules: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A Prometheus with this configuration, these rule files and itself; gives its address once it answers."""
    (folder / "rules").mkdir(parents=True)
    for name, content in rules.items():
        (folder / "rules" / name).write_text(yaml.safe_dump(content))
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    labels = {"host": "lab", "service": "prometheus"}
    own = {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": labels}]}
    scraped = [*config["scrape_configs"], own]
    whole = {**config, "scrape_configs": scraped, "rule_files": ["rules/*.yml"]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(whole))
    checked = subprocess.run(
        ["promtool", "check", "config", folder / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    arguments = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    arguments += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=extra-scrape-metrics"]
    child = Child([PROGRAM, *arguments], folder / "prometheus.log")
    child.start()
    try:
        wait_until(lambda: _ready(url), "Prometheus answers")
        yield url
    finally:
        child.stop()


def quick(rules: Mapping[str, Mapping[str, Any]], interval: str = "1s") -> dict[str, Any]:
    """The same rules, evaluated more often."""
    return {
        name: {"groups": [{**group, "interval": interval} for group in content["groups"]]}
        for name, content in rules.items()
    }


def _ready(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
        return bool(answer.status == 200)
