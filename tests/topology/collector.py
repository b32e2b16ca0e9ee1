"""An OpenTelemetry collector on loopback: takes OTLP over HTTP and keeps what it is told."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Seen(NamedTuple):
    """A span as the collector has it."""

    service: str
    name: str
    trace: str
    parent: str
    took_ns: int
    attributes: dict[str, str | int]


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def of(self, service: str, trace: str | None = None) -> list[Seen]:
        """What a service told, of one trace or of all."""
        return [span for span in self.spans if span.service == service and trace in (None, span.trace)]

    def close(self) -> None:
        """Takes no more."""
        self.server.shutdown()
        self.server.server_close()


def _spans(export: ExportTraceServiceRequest) -> list[Seen]:
    found = []
    for resource in export.resource_spans:
        service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            attributes = {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in span.attributes}
            took = span.end_time_unix_nano - span.start_time_unix_nano
            trace, parent = span.trace_id.hex(), span.parent_span_id.hex()
            found.append(Seen(service, span.name, trace, parent, took, attributes))
    return found
