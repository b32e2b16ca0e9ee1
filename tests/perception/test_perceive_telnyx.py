"""Telnyx webhooks and what they mean."""

import base64

import pytest
from perceiving import load, only, see, see_file, see_list

from processors.perception import PayloadError
from schemas.jsonio import iso
from schemas.records import (
    AnsweredBy,
    CallEndCause,
    CallEventType,
    ConfidenceKind,
    SegmentStatus,
    Speaker,
    Track,
)

SESSION = "428c31b6-abf3-3bc1-b7f4-5013ef9657c1"
LEG = "428c31b6-7af4-4bcb-b7f5-5013ef9657c1"


def with_payload(name: str, **fields: object) -> dict[str, object]:
    webhook = load(name)
    webhook["data"]["payload"].update(fields)
    return webhook


def test_a_call_is_its_session_and_its_leg_ids_are_further_ids_of_it() -> None:
    seen = see_file("telnyx/initiated.json")
    event = only(seen)
    assert (event.type, event.call_id, event.leg_id) == (CallEventType.CALL_INITIATED, SESSION, LEG)
    assert seen.call == ("telnyx", SESSION)
    assert [id for _, id in seen.ids] == [LEG, load("telnyx/initiated.json")["data"]["payload"]["call_control_id"]]
    assert seen.call_spans_legs


def test_data_id_is_the_providers_event_id_and_tells_repeats() -> None:
    webhook = load("telnyx/answered.json")
    retry = webhook | {"meta": {"attempt": 2, "delivered_to": "https://elsewhere.example"}}
    first, again = only(see("telnyx", webhook)), only(see("telnyx", retry))
    assert first.event_id == again.event_id
    assert first.provider_event_id == webhook["data"]["id"]


def test_occurred_at_is_read_from_iso_8601() -> None:
    assert iso(only(see_file("telnyx/answered.json")).occurred_at) == "2026-02-12T15:30:06.996306Z"


def test_client_state_is_read_as_base64_of_json() -> None:
    event = only(see_file("telnyx/initiated.json"))
    assert (event.lead_id, event.agent_id) == ("lead-23", "closer-1")


def test_client_state_is_read_as_base64_of_a_query() -> None:
    state = base64.b64encode(b"lead_id=lead-5&conversation_id=c-8").decode().rstrip("=")
    event = only(see("telnyx", with_payload("telnyx/initiated.json", client_state=state)))
    assert (event.lead_id, event.conversation_id) == ("lead-5", "c-8")


@pytest.mark.parametrize(
    "state",
    [None, "", 7, "aGF2ZSBhIG5pY2UgZGF5ID1d", "!!", "e30", "W10=", "ey", "/w==", "A" * 9000,
     base64.b64encode(b'{"lead_id":{}}').decode(), base64.b64encode(b"{" * 4000).decode()],
)  # fmt: skip
def test_client_state_that_says_nothing_of_the_lead_is_no_error(state: object) -> None:
    assert only(see("telnyx", with_payload("telnyx/initiated.json", client_state=state))).lead_id is None


def test_each_hangup_cause_has_one_meaning() -> None:
    assert [(e.type, e.cause) for e in see_list("telnyx/hangups.json")] == [
        (CallEventType.CALL_ENDED, CallEndCause.BUSY),
        (CallEventType.CALL_ENDED, CallEndCause.CANCELED),
        (CallEventType.CALL_ENDED, CallEndCause.NO_ANSWER),
        (CallEventType.CALL_ENDED, CallEndCause.BUSY),
        (CallEventType.CALL_ENDED, CallEndCause.FAILED),
        (CallEventType.CALL_ENDED, CallEndCause.NO_ANSWER),
        (CallEventType.CALL_TIMEOUT, None),
        (CallEventType.CALL_DROPPED, None),
        (CallEventType.CALL_ENDED, CallEndCause.FAILED),
        (CallEventType.CALL_ENDED, CallEndCause.UNKNOWN),
    ]


def test_a_hangup_carries_its_length_and_its_raw_cause() -> None:
    event = only(see_file("telnyx/hangup_normal.json"))
    assert (event.cause, event.duration_ms) == (CallEndCause.COMPLETED, 127_000)
    assert "normal_clearing" in event.detail
    assert "eaten_by_bear" in see_list("telnyx/hangups.json")[-1].detail


def test_hold_and_unhold() -> None:
    assert [e.type for e in see_list("telnyx/hold.json")] == [CallEventType.HOLD, CallEventType.UNHOLD]


def test_a_key_press_carries_its_digit() -> None:
    assert only(see_file("telnyx/dtmf.json")).digits == "2"


def test_standard_detection_says_who_answered_and_not_sure_is_unknown() -> None:
    machine, unsure = (only(see_file(f"telnyx/detection_{name}.json")) for name in ("machine", "not_sure"))
    assert (machine.answered_by, machine.confidence_kind) == (AnsweredBy.MACHINE, ConfidenceKind.AMD)
    assert (unsure.answered_by, unsure.detail) == (AnsweredBy.UNKNOWN, "result: not_sure")


def test_premium_detection_tells_more_kinds_apart() -> None:
    assert [e.answered_by for e in see_list("telnyx/detection_premium.json")] == [
        AnsweredBy.HUMAN, AnsweredBy.HUMAN, AnsweredBy.MACHINE, AnsweredBy.UNKNOWN, AnsweredBy.FAX, AnsweredBy.UNKNOWN,
    ]  # fmt: skip


def test_a_greeting_that_ended_was_a_machines() -> None:
    assert {e.answered_by for e in see_list("telnyx/greeting_ended.json")} == {AnsweredBy.MACHINE}


def test_refer_and_bridge_are_the_steps_of_a_transfer() -> None:
    assert [e.type for e in see_list("telnyx/transfer.json")] == [
        CallEventType.TRANSFER_STARTED,
        CallEventType.TRANSFER_COMPLETED,
        CallEventType.TRANSFER_FAILED,
        CallEventType.TRANSFER_FAILED,
        CallEventType.TRANSFER_COMPLETED,
    ]


def test_speak_and_playback_are_agent_speech() -> None:
    events = see_list("telnyx/agent_speech.json")
    assert [e.type for e in events] == [CallEventType.SPEECH_STARTED, CallEventType.SPEECH_STOPPED] * 2
    assert {e.speaker for e in events} == {Speaker.AGENT}


def test_a_final_transcription_is_a_final_segment_with_recognition_confidence() -> None:
    segment = only(see_file("telnyx/transcription_final.json"))
    assert (segment.status, segment.text) == (SegmentStatus.FINAL, "take me off your list")
    assert (segment.confidence, segment.confidence_kind) == (0.977219, ConfidenceKind.ASR)
    assert (segment.track, segment.speaker) == (Track.INBOUND, Speaker.LEAD)


def test_an_interim_transcription_is_interim_and_has_another_segment_than_the_final() -> None:
    interim, final = (only(see_file(f"telnyx/transcription_{name}.json")) for name in ("partial", "final"))
    assert interim.status is SegmentStatus.INTERIM
    assert interim.segment_id != final.segment_id


def test_without_a_track_the_lead_is_heard_unless_the_platform_says_otherwise() -> None:
    segment = only(see_file("telnyx/transcription_final_no_track.json"))
    assert (segment.speaker, segment.track) == (Speaker.LEAD, Track.UNKNOWN)
    assert (segment.confidence, segment.confidence_kind) == (None, ConfidenceKind.NONE)
    outbound = only(see_file("telnyx/transcription_final_no_track.json", {"x-mandate-track": "outbound"}))
    mixed = only(see_file("telnyx/transcription_final_no_track.json", {"x-mandate-track": "mixed"}))
    assert (outbound.speaker, mixed.speaker) == (Speaker.AGENT, Speaker.UNKNOWN)


def test_an_empty_final_is_no_segment() -> None:
    assert see_file("telnyx/transcription_empty_final.json").events == ()


def test_an_event_the_vocabulary_has_no_word_for_is_unknown_and_keeps_its_name() -> None:
    event = only(see_file("telnyx/recording_saved.json"))
    assert (event.type, event.provider_type) == (CallEventType.UNKNOWN, "call.recording.saved")


@pytest.mark.parametrize(
    "payload",
    [
        {}, [], "x", {"data": []}, {"data": {"event_type": "call.answered"}},
        {"data": {"event_type": "message.received", "id": "m", "payload": {"text": "hi"}}},
        {"data": {"event_type": "call.answered", "id": "i" * 201, "payload": {"call_session_id": "s"}}},
        {"data": {"event_type": "call.transcription", "id": "i", "payload": {"call_session_id": "s"}}},
        {"event_type": "call_answered", "payload": {"call_session_id": "s"}},
    ],
)  # fmt: skip
def test_what_is_not_a_telnyx_call_event_is_a_payload_error(payload: object) -> None:
    with pytest.raises(PayloadError):
        see("telnyx", payload)
