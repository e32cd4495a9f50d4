"""Traces through a real edge, a real router and a real collector's side of the protocol."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.clients import call
from tests.support.processes import Child, free_ports, wait_until
from tests.support.stack import Stack

Start = Callable[..., Stack]
ALL = {"per_million": 1_000_000}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """A running one."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1/traces"

    def spans(self) -> list[dict[str, Any]]:
        """What it has."""
        found: list[dict[str, Any]] = call(self.port, "GET", "/spans").json
        return found

    def of(self, trace: str, count: int) -> dict[str, dict[str, Any]]:
        """The spans of a trace by service, once there are so many."""
        wait_until(lambda: len(self._of(trace)) >= count, f"{count} spans of {trace}")
        return {span["service"]: span for span in self._of(trace)}

    def be(self, how: str = "") -> None:
        """Become a bad one, or good again."""
        assert call(self.port, "POST", f"/how?{how}", b"", {"content-length": "0"}).status == 200

    def _of(self, trace: str) -> list[dict[str, Any]]:
        return [span for span in self.spans() if span["trace"] == trace]


@contextmanager
def running(folder: Path) -> Iterator[Collector]:
    """A collector of this test's own."""
    [port] = free_ports(1)
    child = Child([sys.executable, "-m", "tests.support.collector", str(port)], folder / "collector.log")
    child.start()
    try:
        wait_until(lambda: call(port, "GET", "/spans").status == 200, "the collector listens")
        yield Collector(port)
    finally:
        child.stop()


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with running(tmp_path) as found:
        yield found


def heard(stack: Stack, **headers: str) -> dict[str, str]:
    """The headers with which a request reached its engine."""
    found: dict[str, str] = stack.post(stack.question(), **headers).json["headers"]
    return found


def metric(stack: Stack, name: str, **labels: str) -> float:
    """One of the router's numbers; 0 where there is none."""
    port = int(stack.config["deciders"][0]["http"].rpartition(":")[2])
    families = text_string_to_metric_families(stack.get("/metrics", port).body.decode())
    samples = (sample for family in families for sample in family.samples if sample.name == name)
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def test_request_without_a_trace_begins_one_whose_tree_is_whole(start: Start, collector: Collector) -> None:
    """Edge on top, the decision below it, and the engine is told the edge's span as its parent."""
    stack = start({"tiny": 2}, traces=ALL, spans_to=collector.url)
    version, trace, span, flags = heard(stack, x_request_id="mine", x_session_id="s")["traceparent"].split("-")
    assert (version, flags) == ("00", "01")
    found = collector.of(trace, 2)
    edge, decision = found["ironrack-edge"], found["ironrack-router"]
    assert (edge["span"], edge["parent"]) == (span, "")
    assert decision["parent"] == span
    assert edge["name"] == "POST /v1/chat/completions"
    line = stack.line("mine")
    assert line["trace"] == trace
    told = edge["attributes"]
    assert (told["ironrack.request_id"], told["ironrack.lease"]) == ("mine", line["lease"])
    assert (told["ironrack.engine"], told["http.response.status_code"]) == (line["server"], 200)
    assert (edge["events"], edge["failed"]) == (["first byte"], False)
    assert decision["attributes"]["ironrack.prompt_tokens"] > 0
    assert decision["attributes"]["ironrack.source"] == "x-session-id"
    assert edge["ended"] >= edge["began"] > 0
    assert decision["ended"] > decision["began"]


def test_trace_of_the_client_goes_on(start: Start, collector: Collector) -> None:
    """Its trace and state reach the engine, under a span of ours that has the client's as parent."""
    stack = start({"tiny": 1}, traces={"per_million": 0}, spans_to=collector.url)
    got = heard(stack, traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="vendor=1")
    found = collector.of(TRACE, 2)
    assert found["ironrack-edge"]["parent"] == SPAN
    assert got["traceparent"] == f"00-{TRACE}-{found['ironrack-edge']['span']}-01"
    assert got["tracestate"] == "vendor=1"


def test_what_is_not_sampled_is_passed_on_and_not_exported(start: Start, collector: Collector) -> None:
    """The engine hears that nobody wants its spans: neither of the client's word nor of our draw."""
    stack = start({"tiny": 1}, traces={"per_million": 0}, spans_to=collector.url)
    drawn = heard(stack)["traceparent"]
    client = heard(stack, traceparent=f"00-{'1' * 32}-{SPAN}-00")["traceparent"]
    assert (drawn[-3:], client[-3:], client[3:35]) == ("-00", "-00", "1" * 32)
    heard(stack, traceparent=f"00-{TRACE}-{SPAN}-01")
    collector.of(TRACE, 2)
    assert {span["trace"] for span in collector.spans()} == {TRACE}


def test_trace_that_is_none_is_replaced(start: Start, collector: Collector) -> None:
    """What no parser would take does not reach the engine, nor the state that belongs to it."""
    stack = start({"tiny": 1}, traces=ALL, spans_to=collector.url)
    wrong = ["", "junk", f"00-{TRACE}-{'0' * 16}-01", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01"]
    for given in wrong:
        got = heard(stack, traceparent=given, tracestate="vendor=1")
        assert (len(got["traceparent"]), got["traceparent"][-3:]) == (55, "-01")
        assert got["traceparent"][3:35] not in {TRACE, "0" * 32}
        assert "tracestate" not in got


def test_refusal_and_retry_show_in_their_spans(start: Start, collector: Collector) -> None:
    """A refused request has a decision without an engine; a retried one says who served and who was to."""
    stack = start({"tiny": 2, "org/big": 1}, traces={"per_million": 0}, spans_to=collector.url)
    chosen = stack.chat("s").engine
    refused, retried, failed = "1" * 32, "2" * 32, "3" * 32
    stack.post({"model": "nobody", "messages": []}, traceparent=f"00-{refused}-{SPAN}-01")
    wish = stack.question(fail_on=[chosen], how="reset")
    stack.post(wish, x_session_id="s", traceparent=f"00-{retried}-{SPAN}-01")
    stack.post(stack.question(fail_on=list(stack.engines), how="500"), traceparent=f"00-{failed}-{SPAN}-01")
    found = collector.of(refused, 2)
    assert found["ironrack-edge"]["attributes"]["http.response.status_code"] == 404
    assert found["ironrack-edge"]["failed"] is False
    assert "ironrack.engine" not in found["ironrack-router"]["attributes"]
    found = collector.of(retried, 2)
    assert found["ironrack-edge"]["attributes"]["ironrack.retries"] >= 1
    assert found["ironrack-router"]["attributes"]["ironrack.engine"] == chosen
    assert found["ironrack-edge"]["attributes"]["ironrack.engine"] != chosen
    assert collector.of(failed, 2)["ironrack-edge"]["failed"] is True


def test_collector_that_hangs_or_fails_costs_spans_and_nothing_else(start: Start, collector: Collector) -> None:
    """Requests are decided and served as ever, what finds no room is counted, and a good collector gets spans again."""
    stack = start({"tiny": 2}, traces=ALL, spans_to=collector.url, spans_waiting=4)
    collector.be("status=400")
    wait_until(lambda: stack.chat("s").status == 200 and lost(stack) > 0, "spans are counted as failed")
    collector.be("hang=1")
    answers = [stack.chat(f"s{number}") for number in range(40)]
    assert {(answer.status, answer.why) for answer in answers} == {(200, "new")}
    wait_until(lambda: metric(stack, "ironrack_router_traces_dropped_total") > 0, "what found no room is counted")
    assert metric(stack, "ironrack_router_traces_queued") <= 4
    collector.be()
    before = len(collector.spans())
    wait_until(lambda: stack.chat("s").status == 200 and len(collector.spans()) > before, "spans flow again", 30)
    assert metric(stack, "ironrack_router_spans_total", result="exported") > 0


def lost(stack: Stack) -> float:
    return metric(stack, "ironrack_router_spans_total", result="failed")


def test_router_that_stops_hands_over_what_it_has(start: Start, collector: Collector) -> None:
    """An upgrade loses no spans of requests that were over."""
    stack = start({"tiny": 1}, traces={"per_million": 0}, spans_to=collector.url)
    heard(stack, x_request_id="last", traceparent=f"00-{TRACE}-{SPAN}-01")
    text = stack.folder / "router.log"
    wait_until(lambda: any('"last"' in line for line in text.read_text().splitlines()), "the router has heard of it")
    assert stack.router.process
    stack.router.process.terminate()
    stack.router.process.wait()
    assert set(collector.of(TRACE, 2)) == {"ironrack-edge", "ironrack-router"}


def test_without_traces_the_clients_own_pass_untouched(start: Start) -> None:
    """Nothing is added, nothing taken away, and the access line is as long as it was."""
    stack = start({"tiny": 1})
    got = heard(stack, traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="vendor=1", x_request_id="plain")
    assert (got["traceparent"], got["tracestate"]) == (f"00-{TRACE}-{SPAN}-01", "vendor=1")
    assert "traceparent" not in heard(stack)
    assert not {"trace", "parent", "sampled", "ended_us"} & set(stack.line("plain"))
