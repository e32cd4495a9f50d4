"""A collector as small as it can be: a process that takes OTLP over HTTP as the protocol says, and tells what it has.

`POST /v1/traces` decodes protobuf (gzip or not) with the protocol's own classes and refuses what is neither.
`GET /spans` lists them. `POST /how?status=503` or `/how?hang=1` makes it a bad one until `/how`.
Run: `python -m tests.support.collector PORT`.
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATH = "/v1/traces"
_spans: list[dict[str, Any]] = []
_how: dict[str, list[str]] = {}
_never = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """What came so far."""
        self._say(200, json.dumps(_spans).encode(), "application/json")

    def do_POST(self) -> None:
        """Spans, or an order."""
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        url = urlsplit(self.path)
        if url.path == "/how":
            _how.clear()
            _how.update(parse_qs(url.query))
            self._say(200, b"{}", "application/json")
        elif "hang" in _how:
            _never.wait()
        elif "status" in _how:
            self._say(int(_how["status"][0]), b"", "text/plain")
        else:
            self._take(url.path, body)

    def _take(self, path: str, body: bytes) -> None:
        if path != PATH or self.headers["content-type"] != "application/x-protobuf":
            self._say(404, b"", "text/plain")
            return
        try:
            octets = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
            asked = ExportTraceServiceRequest.FromString(octets)
        except (OSError, DecodeError):
            self._say(400, b"", "text/plain")
            return
        for sent in asked.resource_spans:
            resource = _plain(list(sent.resource.attributes))
            _spans.extend(_told(span, resource) for scope in sent.scope_spans for span in scope.spans)
        self._say(200, ExportTraceServiceResponse().SerializeToString(), "application/x-protobuf")

    def _say(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _told(span: Span, resource: dict[str, Any]) -> dict[str, Any]:
    return {
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "name": span.name,
        "service": resource.get("service.name"),
        "began": span.start_time_unix_nano,
        "ended": span.end_time_unix_nano,
        "failed": span.status.code == 2,
        "events": [event.name for event in span.events],
        "attributes": _plain(list(span.attributes)),
    }


def _plain(pairs: list[KeyValue]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
