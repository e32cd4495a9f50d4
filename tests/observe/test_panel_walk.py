"""Every panel's question and every rule has an answer, from a real Prometheus that watches a lab under load."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from observe.dashboards.boards import BOARDS
from observe.dashboards.model import LOAD, Board, Panel, Row, ask
from observe.dashboards.reads import EVENTS
from observe.dashboards.walk import Finding, silent, walked
from observe.series import ALL
from tests.observe.lab import Watched, planned, recorded_target, rules_of, talked, watched
from tests.observe.recorded import FEATURES, HARDWARE, texts
from tests.support import lab as labs
from tests.support.processes import wait_until
from tests.support.prometheus import pages, prometheus, quick

pytestmark = [pytest.mark.lab, pytest.mark.timeout(720)]

ENGINES = 3
SECONDS = 120.0
# Nothing waits in a lab's router: it has no caps. Proven with rules alone, by promtool.
NOT_IN_A_LAB = {EVENTS["ironrack:queue_seconds:quantile"]}
EVERYTHING = ({series.needs for series in ALL} | set(EVENTS.values()) | {LOAD}) - {""}


def _hanging() -> str:
    time.sleep(3)
    return ""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A lab with recorded hardware, and three targets that fail in each way."""
    broken: dict[str, Callable[[], str]] = {"hanging": _hanging, "garbage": lambda: "<html>not metrics</html>\n" * 3}
    reads = {**HARDWARE, **FEATURES, "broken": ("hanging", "garbage", "nobody")}
    with watched(
        tmp_path_factory.mktemp("walk"), rules_of(planned(ENGINES, gpus=1)), ENGINES, {**texts(), **broken}, reads
    ) as found:
        yield found


def test_every_panel_and_every_rule_has_data(stack: Watched) -> None:
    """With load, recorded hardware and a fault of each kind, nothing on any dashboard is empty."""
    present = EVERYTHING - NOT_IN_A_LAB
    left: list[Finding] = []
    with _loaded(stack), contextlib.ExitStack() as faults:
        faults.enter_context(_left_alone(stack))
        _broken_off(stack)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            left = silent(walked(stack.prometheus), present)
            if not left:
                break
            time.sleep(0.5)
    assert not left, "\n".join(map(str, left))


def test_walk_notices_a_series_that_was_renamed(stack: Watched) -> None:
    """A panel that asks for what nobody records any more is named, with its question."""
    old = Panel(101, "Renamed", "A series of yesterday.", "short", [ask("sum(ironrack:model_engines_of_old)")])
    board = Board("ironrack-test", "Test", "One panel.", [Row("Row", [old])])
    [found] = [each for each in silent(walked(stack.prometheus, [board])) if each.where.startswith("Test")]
    assert str(found).startswith("Test / Renamed: sum(ironrack:model_engines_of_old): no data was found")


def test_walk_notices_a_raw_metric_that_was_renamed(tmp_path: Path) -> None:
    """An engine that tells its KV cache's use under a name no rule knows: the panels that show it are named."""
    page = {"engine-sim-0": lambda: "vllm:num_requests_running 1\nvllm:kv_cache_filled_perc 0.5\n"}
    with pages(page) as port:
        read = {"job_name": "engines", "static_configs": [recorded_target("engine-sim-0", port, model="sim")]}
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        with prometheus(
            tmp_path / "p", {"global": every, "scrape_configs": [read]}, quick(rules_of(planned(1)))
        ) as url:
            fine = "ironrack:engine_requests_running"
            wait_until(lambda: not _unanswered(url, fine), f"{fine} is recorded", SECONDS)
            named = {each.where for each in _unanswered(url, "ironrack:engine_kv_usage_ratio")}
    assert {"Engine / KV cache in use", "rule ironrack-engines / ironrack:engine_kv_usage_ratio"} <= named


def test_every_board_is_walked() -> None:
    """No dashboard is left out, nor the rows of features."""
    assert len(BOARDS) == 6
    assert {row.feature for board in BOARDS for row in board.rows} == {"", "kv-offload"}


def _unanswered(url: str, series: str) -> list[Finding]:
    return [each for each in silent(walked(url)) if series in each.asked]


@contextlib.contextmanager
def _loaded(stack: Watched) -> Iterator[None]:
    """Conversations, as long as the block runs."""
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(0.2):
            asyncio.run(talked(stack.report, 4, 3))

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _left_alone(stack: Watched) -> Iterator[None]:
    """A client that hangs up in the middle of an answer."""
    connection = _begun(stack)
    answer = connection.getresponse()
    answer.read(1)  # who leaves before that may never have been heard of
    answer.close()
    connection.close()
    yield


def _broken_off(stack: Watched) -> None:
    """An engine that ends in the middle of an answer, and is back afterwards."""
    connection = _begun(stack)
    answer = connection.getresponse()
    served = str(answer.headers["x-served-by"])
    answer.read(1)
    labs.run("kill", served, "--state", str(stack.report["state"]))
    with contextlib.suppress(http.client.HTTPException, OSError):  # the answer is broken off: that is the fault
        answer.read()
    connection.close()
    labs.run("restart", served, "--state", str(stack.report["state"]))


def _begun(stack: Watched) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(urlsplit(str(stack.report["endpoint"])).netloc, timeout=30)
    wish: dict[str, Any] = {"model": stack.report["model"], "max_tokens": 2000, "ignore_eos": True, "stream": True}
    wish["messages"] = [{"role": "user", "content": "Count."}]
    connection.request("POST", "/v1/chat/completions", json.dumps(wish), {"content-type": "application/json"})
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
