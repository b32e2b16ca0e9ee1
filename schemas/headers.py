"""Record headers: CloudEvents (binary mode of the Kafka protocol binding, 1.0) and W3C Trace Context."""

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache

from schemas.catalogue import TOPIC_OF
from schemas.jsonio import iso
from schemas.records import Record, TimeUs

Headers = list[tuple[str, bytes]]

DEAD_LETTER_PREFIX = "__connect.errors."
"""Prefix of the headers that Kafka Connect's dead letter queues use (DeadLetterQueueReporter.java)."""


def cloud_event(
    value: Record, *, id: str, source: str, subject: str, at: TimeUs, traceparent: str | None = None
) -> Headers:
    """Headers of one outgoing record.

    id: id of the record, the same when it is sent again. source: who sends it, a URI reference such as
    /mandate/control. subject: the lead. at: journal time.
    """
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", _type(type(value))),
        ("ce_time", _time(at)),
        ("ce_subject", subject.encode()),
        ("content-type", b"application/avro"),
    ]
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    return headers


@cache
def _type(record: type[Record]) -> bytes:
    return f"mandate.{TOPIC_OF[record]}".encode()


@lru_cache(maxsize=64)
def _time(at: TimeUs) -> bytes:
    """What follows from one entry has one time."""
    return iso(at).encode()


def trace_of(headers: Iterable[tuple[str, bytes | None]] | None) -> str | None:
    """The `traceparent` of a consumed record; None when there is none or it is not text."""
    for name, value in headers or ():
        if name.lower() == "traceparent" and value:
            return value.decode("ascii", "replace")[:64]
    return None


def dead_letter(
    original: Mapping[str, bytes], *, topic: str, partition: int, offset: int, stage: str, code: str, error: str
) -> Headers:
    """Headers of a dead letter, by Kafka Connect's names; the original's own headers are kept before them."""
    context = {
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "stage": stage,
        "class.name": f"mandate.{stage}",
        "exception.class.name": code,
        "exception.message": error,
    }
    added = [(DEAD_LETTER_PREFIX + name, text.encode()) for name, text in context.items()]
    return [(name, value) for name, value in original.items() if not name.startswith(DEAD_LETTER_PREFIX)] + added
