"""Requests that are over → spans → an OTLP endpoint, in a thread of its own, a batch at a time.

A collector that is slow or away holds up this thread and nothing else: the queue fills, and what finds no room there is
dropped and counted. At most `_BATCH` requests every `_PAUSE_SECONDS` are taken, so that writing spans down never costs
the decisions more than a small share of the interpreter.
"""

import logging
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.metrics import PREFIX
from router.traces import Traced, Traces

logger = logging.getLogger(__name__)

_BATCH: Final = 128
_PAUSE_SECONDS: Final = 0.2
_TIMEOUT_SECONDS: Final = 5.0
_GOODBYE_SECONDS: Final = 2.0
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)

Attributes = dict[str, str | int | float]


class TraceExport:
    """The thread. `exporter`: who sends; a real one for `endpoint` unless given."""

    def __init__(self, traces: Traces, endpoint: str, exporter: SpanExporter | None = None) -> None:
        self.traces = traces
        self.exported = self.failed = 0  # spans
        self._exporter = exporter or _exporter(endpoint)
        self._edge, self._router = _resource("ironrack-edge"), _resource("ironrack-router")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def metrics(self) -> "TraceMetrics":
        """What Prometheus is told of this."""
        return TraceMetrics(self)

    def start(self) -> None:
        """Begin to export."""
        self._thread.start()

    def close(self) -> None:
        """Export what is left if that is quick, then end. Whoever cannot be reached is not waited for."""
        self._stopping.set()
        self._thread.join(_GOODBYE_SECONDS)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            self.send()
        while self.send():
            pass

    def send(self) -> bool:
        """Export one batch; False when there was nothing, or nobody took it. Never raises."""
        batch = self.traces.take(_BATCH)
        if not batch:
            return False
        spans = [span for traced in batch for span in self.spans(traced)]
        try:
            done = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # a foreign exporter may raise anything; counted as failed
            logger.exception("spans could not be exported")
            done = False
        self._count(len(spans), done=done)
        return done

    def _count(self, spans: int, *, done: bool) -> None:
        if done:
            self.exported += spans
            return
        if not self.failed:
            logger.warning("traces: found nobody who takes spans: allowed an OTLP endpoint over HTTP; see the metrics")
        self.failed += spans

    def spans(self, traced: Traced) -> Iterator[ReadableSpan]:
        """The edge's span and, where a router was asked, the decision below it."""
        edge = _context(traced.trace, traced.edge_span)
        yield ReadableSpan(
            name=f"{traced.event.method} {traced.event.path}",
            context=edge,
            parent=_context(traced.trace, traced.parent, remote=True) if traced.parent else None,
            resource=self._edge,
            attributes=_edge_attributes(traced),
            events=_first_byte(traced),
            kind=SpanKind.SERVER,
            status=_status(traced),
            start_time=traced.began,
            end_time=traced.ended,
        )
        if traced.deciding is not None:
            yield ReadableSpan(
                name="decide",
                context=_context(traced.trace, traced.decision_span),
                parent=edge,
                resource=self._router,
                attributes=_decision_attributes(traced),
                kind=SpanKind.INTERNAL,
                start_time=traced.deciding.began,
                end_time=traced.deciding.began + traced.deciding.took,
            )


class TraceMetrics(Collector):
    """What became of spans, for Prometheus."""

    def __init__(self, export: TraceExport) -> None:
        self._export = export

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known without a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Build the families."""
        spans = CounterMetricFamily(f"{PREFIX}_spans", "Spans, by what became of them.", labels=("result",))
        spans.add_metric(("exported",), self._export.exported)
        spans.add_metric(("failed",), self._export.failed)
        yield spans
        text = "Sampled requests without spans, because too many waited to be exported."
        yield CounterMetricFamily(f"{PREFIX}_traces_dropped", text, value=self._export.traces.dropped)
        yield GaugeMetricFamily(f"{PREFIX}_traces_queued", "Requests whose spans wait.", len(self._export.traces))


def _exporter(endpoint: str) -> OTLPSpanExporter:
    """The library's own, told of nothing by the environment's proxies; its lines at each failure are one of ours."""
    session = requests.Session()
    session.trust_env = False
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return OTLPSpanExporter(endpoint, timeout=_TIMEOUT_SECONDS, compression=Compression.Gzip, session=session)


def _resource(name: str) -> Resource:
    return Resource({"service.name": name, "service.namespace": "ironrack", "host.name": socket.gethostname()})


def _context(trace: int, span: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace, span, is_remote=remote, trace_flags=_SAMPLED)


def _edge_attributes(traced: Traced) -> Attributes:
    event = traced.event
    found: Attributes = {
        "http.request.method": event.method,
        "url.path": event.path,
        "http.response.status_code": event.status,
        "http.request.body.size": event.bytes_in,
        "http.response.body.size": event.bytes_out,
        "gen_ai.request.model": event.model,
        "ironrack.request_id": event.id,
        "ironrack.lease": event.lease,
        "ironrack.tenant": event.tenant,
        "ironrack.engine": traced.engine,
        "ironrack.why": event.why,
        "ironrack.state": event.state,
        "ironrack.retries": max(int(event.retries), 0),
        "ironrack.queued_ms": event.queued_ms,
        "ironrack.connect_ms": event.connect_ms,
        "ironrack.headers_ms": event.headers_ms,
        **_usage(event.usage),
    }
    return _known(found)


def _known(found: Attributes) -> Attributes:
    """Without what the edge has written as nothing."""
    return {key: value for key, value in found.items() if value not in ("", "-", -1)}


def _usage(counted: str) -> Attributes:
    numbers = counted.split(",")
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
        return {}
    return {"gen_ai.usage.input_tokens": int(numbers[0]), "gen_ai.usage.output_tokens": int(numbers[2])}


def _decision_attributes(traced: Traced) -> Attributes:
    event, decided = traced.event, traced.decided
    found: Attributes = {"ironrack.why": event.why, "ironrack.engine": event.chosen, "ironrack.source": event.source}
    if decided is not None:
        found |= {
            "ironrack.prompt_tokens": decided.prompt_tokens,
            "ironrack.uncached_tokens": decided.uncached_tokens,
            "ironrack.cost_seconds": decided.cost_seconds,
        }
    return _known(found)


def _first_byte(traced: Traced) -> Sequence[SpanEvent]:
    at = traced.first_byte
    return () if at is None else (SpanEvent("first byte", timestamp=at),)


def _status(traced: Traced) -> Status:
    """A fault of ours or of an engine; what a client did wrong, or left, is none."""
    event = traced.event
    if event.status >= 500 or event.state[:1] in {"S", "s"}:
        return Status(StatusCode.ERROR, f"{event.status} {event.state[:2]}")
    return Status(StatusCode.UNSET)
