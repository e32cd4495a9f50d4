"""What is remembered of requests for their spans: bounded, dropped with a count, and nothing where nobody asked."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from router.account import Event
from router.config import check
from router.errors import SettingsInvalid
from router.joined import Decided
from router.parts import Parts
from router.spop import Notify
from router.trace_export import TraceExport, TraceMetrics
from router.traces import Traced, Traces

LEASE = "11112222-3333-4444-8555-666677778888"
EVENT: dict[str, Any] = {
    "id": "mine",
    "lease": LEASE,
    "method": "POST",
    "path": "/v1/completions",
    "status": 200,
    "server": "a",
    "chosen": "a",
    "why": "new",
    "model": "tiny",
    "trace": "0af7651916cd43dd8448eb211c80319c",
    "parent": "-",
    "sampled": "1",
    "queued_ms": 2,
    "connect_ms": 1,
    "headers_ms": 20,
    "total_ms": 90,
    "ended_us": 1_700_000_000_000_000,
    "usage": "7,4,3",
}


class Sink(SpanExporter):
    """Takes what it is given, unless told not to."""

    def __init__(self) -> None:
        self.took: list[ReadableSpan] = []
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if isinstance(self.result, Exception):
            raise self.result
        self.took += spans
        return self.result


def event(**changes: Any) -> Event:
    return Event(**(EVENT | changes))


def test_sampled_request_is_two_spans_named_by_its_lease() -> None:
    """Edge and decision, in one trace, with the times of the access line."""
    traces, sink = Traces(4), Sink()
    traces.decided(LEASE, 1_699_999_999_920_000_000, 45_000)
    traces.completed(event(), "a", Decided(100, 60, 0.0125))
    export = TraceExport(traces, "", sink)
    assert export.send() is True
    edge, decision = sink.took
    assert edge.context is not None
    assert decision.parent is not None
    assert (f"{edge.context.trace_id:032x}", f"{edge.context.span_id:016x}") == (EVENT["trace"], "8555666677778888")
    assert decision.parent.span_id == edge.context.span_id
    assert (edge.parent, edge.end_time, edge.start_time) == (None, 1_700_000_000 * 10**9, 1_699_999_999_910_000_000)
    assert edge.events[0].timestamp == 1_699_999_999_933_000_000
    assert (decision.end_time or 0) - (decision.start_time or 0) == 45_000
    assert (edge.attributes or {})["gen_ai.usage.output_tokens"] == 3
    assert (decision.attributes or {})["ironrack.uncached_tokens"] == 60


@pytest.mark.parametrize(
    "changes",
    [
        {"sampled": ""},
        {"sampled": "-"},
        {"trace": ""},
        {"trace": "x" * 32},
        {"lease": "theirs"},
        {"parent": "junk"},
        {"ended_us": 0},
    ],
)
def test_request_without_what_spans_need_is_none(changes: dict[str, Any]) -> None:
    """Not sampled, or a line of an edge that knows no traces: nothing is queued, and nothing raises."""
    traces = Traces(4)
    traces.completed(event(**changes), "a", None)
    assert (len(traces), traces.dropped) == (0, 0)


def test_queue_has_an_end_and_counts_what_it_does_not_take() -> None:
    """Whoever takes spans too slowly loses the newest ones, and can see it."""
    traces = Traces(3)
    for _ in range(10):
        traces.completed(event(), "a", None)
    assert (len(traces), traces.dropped) == (3, 7)


def test_decisions_whose_end_is_never_heard_of_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of decisions under way is bounded; the oldest make room."""
    monkeypatch.setattr("router.traces._PENDING", 3)
    traces = Traces(10)
    for number in range(10):
        traces.decided(f"{number}", 1, 1)
    traces.decided(LEASE, 1, 1)
    assert len(traces._deciding) == 3
    traces.completed(event(), "a", None)
    [traced] = traces.take(10)
    assert isinstance(traced, Traced)
    assert traced.deciding is not None


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, RuntimeError("no")])
def test_spans_that_nobody_takes_are_counted_and_gone(result: SpanExportResult | Exception) -> None:
    """An exporter may fail in every way: the thread goes on, and the next batch has its chance."""
    traces, sink = Traces(9), Sink()
    export = TraceExport(traces, "", sink)
    sink.result = result
    traces.completed(event(), "a", None)
    assert export.send() is False
    sink.result = SpanExportResult.SUCCESS
    traces.completed(event(), "a", None)
    assert export.send() is True
    values = {
        sample.name + str(sample.labels): sample.value
        for family in TraceMetrics(export).collect()
        for sample in family.samples
    }
    assert values["ironrack_router_spans_total{'result': 'failed'}"] == 1
    assert values["ironrack_router_spans_total{'result': 'exported'}"] == 1
    assert values["ironrack_router_traces_queued{}"] == 0


def settings(**traces: Any) -> dict[str, Any]:
    return {
        "models": [{"name": "tiny", "backend": "model-tiny"}],
        "engines": [{"name": "a", "url": "http://127.0.0.1:1", "model": "tiny"}],
        **({"traces": traces} if traces else {}),
    }


def test_nothing_is_loaded_without_an_endpoint() -> None:
    """Off means off: the library is not even loaded."""
    code = (
        "import sys, json\n"
        "import router.__main__\n"
        "from router.config import check\n"
        "from router.parts import Parts\n"
        f"parts = Parts(check(json.loads({json.dumps(settings())!r})))\n"
        "assert parts.export is None\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'router.trace'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_endpoint_switches_it_on() -> None:
    """With one, questions are timed and the numbers of spans are among the metrics."""

    async def made() -> Parts:
        return Parts(check(settings(endpoint="http://127.0.0.1:4318/v1/traces")))

    parts = asyncio.run(made())
    assert parts.export is not None
    parts.answers.answer(Notify(1, 1, {"ask": {"lease": LEASE}}), 1.0)
    parts.export.traces.completed(event(), "a", None)
    [traced] = parts.export.traces.take(1)
    assert traced.deciding is not None
    assert 0 < traced.deciding.took < 60 * 10**9
    assert any(family.name == "ironrack_router_spans" for family in parts.metrics.collect())


@pytest.mark.parametrize("wrong", ["127.0.0.1:4318", "http://host:4318", "grpc://host:4317/x", "http://u:p@host/v1"])
def test_endpoint_that_cannot_be_one_is_refused(wrong: str) -> None:
    """The whole address is needed, as the exporter uses it; a password has no place in it."""
    with pytest.raises(SettingsInvalid, match=r"traces\.endpoint"):
        check(settings(endpoint=wrong))
