"""Record headers: CloudEvents, trace context, Kafka Connect's names for errors."""

import pytest

from schemas.headers import DEAD_LETTER_PREFIX, cloud_event, dead_letter, trace_of
from schemas.records import ClockReading, Tick

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
AT = 1_767_607_200_000_000
READING = ClockReading(at=AT)


def test_a_record_bears_the_required_cloudevents_attributes():
    headers = dict(cloud_event(READING, id="i", source="/mandate/intake", subject="lead-1", at=AT))
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"] == b"i"
    assert headers["ce_type"] == b"mandate.clock.driven"
    assert headers["ce_source"] == b"/mandate/intake"
    assert headers["ce_subject"] == b"lead-1"
    assert headers["ce_time"] == b"2026-01-05T10:00:00.000Z"
    assert headers["content-type"] == b"application/avro"
    assert "traceparent" not in headers


def test_a_trace_is_passed_on():
    headers = cloud_event(READING, id="i", source="s", subject="l", at=AT, traceparent=TRACE)
    assert trace_of(headers) == TRACE


def test_a_trace_is_found_whatever_the_case_of_its_name():
    assert trace_of([("Traceparent", TRACE.encode())]) == TRACE


def test_no_trace_is_none():
    assert trace_of(None) is None
    assert trace_of([("traceparent", None), ("other", b"x")]) is None


def test_a_trace_that_is_not_text_is_cut_and_never_raises():
    assert len(trace_of([("traceparent", b"\xff" * 500)]) or "") == 64


def test_a_dead_letter_keeps_the_originals_headers_and_adds_its_place():
    given = {"traceparent": TRACE.encode(), DEAD_LETTER_PREFIX + "topic": b"an older one"}
    headers = dead_letter(given, topic="t", partition=3, offset=9, stage="intake", code="NOT_AVRO", error="why")
    named = dict(headers)
    assert len(named) == len(headers)
    assert named["traceparent"] == TRACE.encode()
    assert named["__connect.errors.topic"] == b"t"
    assert named["__connect.errors.partition"] == b"3"
    assert named["__connect.errors.offset"] == b"9"
    assert named["__connect.errors.exception.message"] == b"why"


def test_a_record_without_a_topic_has_no_event_type():
    with pytest.raises(KeyError):
        cloud_event(Tick(tick_id="t", at=1), id="i", source="s", subject="", at=AT)
