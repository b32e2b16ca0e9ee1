"""Old and new producers mixed: a record is read with the schema it was written with."""

import copy
import io
import json
from typing import Any

import fastavro
import pytest

from schemas.avro_files import self_contained
from schemas.codec import Codec, CodecError
from schemas.records import CallEndCause, CallEvent, CallEventType, DeadLetterCode, Speaker

OURS, THEIRS = 1, 2
RINGING = {
    "event_id": "e1", "lead_id": "lead-1", "conversation_id": None, "provider": "twilio", "provider_event_id": None,
    "provider_type": "ringing", "call_id": "CA1", "leg_id": None, "type": "CALL_RINGING", "speaker": "LEAD",
    "received_at": 7,
}  # fmt: skip


def _read(schema: dict[str, Any], value: dict[str, Any]) -> CallEvent:
    """A call event that a producer wrote with its own version of the schema."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(copy.deepcopy(schema)), value)
    codec = Codec({"CallEvent": OURS}, {THEIRS: json.dumps(schema)}.__getitem__)
    return codec.decode(CallEvent, b"\x00" + THEIRS.to_bytes(4, "big") + out.getvalue())


def _their_schema() -> dict[str, Any]:
    return copy.deepcopy(self_contained("CallEvent"))


def _field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return next(field for field in schema["fields"] if field["name"] == name)


def test_an_older_record_without_a_field_reads_as_the_fields_default():
    older = _their_schema()
    older["fields"] = [field for field in older["fields"] if "default" not in field or field["name"] in RINGING]
    event = _read(older, RINGING)
    assert (event.event_id, event.type, event.speaker) == ("e1", CallEventType.CALL_RINGING, Speaker.LEAD)
    assert event.cause is None


def test_a_newer_record_with_a_field_more_is_read_without_it():
    newer = _their_schema()
    newer["fields"].append({"name": "sentiment", "type": "string", "doc": "new", "default": ""})
    assert _read(newer, {**RINGING, "sentiment": "calm"}).call_id == "CA1"


def test_a_symbol_that_is_new_to_us_reads_as_the_enums_default():
    newer = _their_schema()
    _field(newer, "type")["type"]["symbols"].append("CALL_PARKED")
    assert _read(newer, {**RINGING, "type": "CALL_PARKED"}).type is CallEventType.UNKNOWN


def test_a_new_symbol_inside_an_optional_field_reads_as_the_enums_default():
    newer = _their_schema()
    cause = next(branch for branch in _field(newer, "cause")["type"] if branch != "null")
    cause["symbols"].append("ABDUCTED")
    assert _read(newer, {**RINGING, "cause": "ABDUCTED"}).cause is CallEndCause.UNKNOWN


def test_a_schema_without_logical_types_carries_the_same_times():
    older = self_contained("CallEvent", logical_types=False)
    assert _read(older, RINGING).received_at == 7


def test_a_schema_that_lacks_what_we_need_makes_a_dead_letter_not_a_guess():
    broken = _their_schema()
    broken["fields"] = [field for field in broken["fields"] if field["name"] != "call_id"]
    with pytest.raises(CodecError) as caught:
        _read(broken, RINGING)
    assert caught.value.code is DeadLetterCode.NOT_AVRO
