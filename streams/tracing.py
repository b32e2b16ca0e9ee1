"""Spans for OpenTelemetry: what became of a record, as a child of the `traceparent` that came with it. Off by default.

`MANDATE_TRACING=true` makes them; where they go, how many are kept and how they are named there say OpenTelemetry's own
variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`). Its packages are the extra
`mandate[tracing]`.

Nothing that Mandate writes depends on a span: what follows from an entry bears the entry's own `traceparent`, the same
when it is written again, so the spans of intake, control and sink are siblings under the producer's.

Names and attributes: OpenTelemetry's conventions for messaging (Kafka), and `mandate.*`. None is a lead's id; ids of
requests and names of actions are the agents' own words.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from schemas.headers import trace_of
from schemas.records import AgentRequest, CrmResult, DeadLetterCode, Decision, JournalEntry
from streams import Broken
from streams.kafka import Consumed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from deploy.settings import Settings
    from processors.draft import Output

Attributes = Mapping[str, str | int]
_NONE: Attributes = {}
_FLUSH_MS = 2_000


class Spans:
    """Makes spans and hands them to a thread of OpenTelemetry, which sends them on; when it can't, they are dropped."""

    def __init__(self, service: str, exporter: "SpanExporter") -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("mandate")
        self._parent = TraceContextTextMapPropagator().extract
        self._kind: Any = SpanKind.CONSUMER

    def processed(
        self, record: Consumed, began_ns: int, attributes: Attributes = _NONE, *, traceparent: str | None = None
    ) -> None:
        """A record was dealt with, from `began_ns` (nanoseconds since 1970) until now.

        traceparent: the parent; unset: what the record's own headers say.
        """
        parent = traceparent or trace_of(record.headers)
        span = self._tracer.start_span(
            f"process {record.topic}",
            self._parent({"traceparent": parent} if parent else {}),
            self._kind,
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                **attributes,
            },
            start_time=began_ns,
        )
        span.end()

    def close(self) -> None:
        """Sends what is left, for two seconds at most."""
        self._provider.force_flush(_FLUSH_MS)


def make_spans(settings: "Settings", service: str) -> Spans | None:
    """None unless tracing is on. Raises Broken when its packages are not there."""
    if not settings.tracing:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise Broken(
            f"Spans can't be made ({error}).", "Install mandate[tracing], or leave MANDATE_TRACING unset."
        ) from error
    # Of a collector that is away it says a line for each batch that is lost; warnings tell of every retry.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    return Spans(service, OTLPSpanExporter())


def of_entry(entry: JournalEntry, outputs: "list[Output]") -> Attributes:
    """What control tells of an entry: its kind, and of a request the verdict."""
    told: dict[str, str | int] = {"mandate.entry.kind": entry.kind.value}
    if isinstance(entry.body, AgentRequest):
        told["mandate.request_id"] = entry.body.request_id
        told["mandate.action"] = entry.body.action
    for output in outputs:
        if isinstance(output.value, Decision) and output.value.request_id == told.get("mandate.request_id"):
            told["mandate.verdict"] = output.value.verdict.value
            told["mandate.policy"] = output.value.policy_version
    return told


def of_write(outcome: CrmResult | DeadLetterCode | None) -> Attributes:
    """What the CRM sink tells of an update; None: it was dealt with before."""
    if isinstance(outcome, CrmResult):
        code = {} if outcome.code is None else {"mandate.reason": outcome.code.value}
        return {"mandate.crm.result": outcome.result.value, **code}
    return {"mandate.crm.result": "REPEATED"} if outcome is None else {"error.type": outcome.value}
