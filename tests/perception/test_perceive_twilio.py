"""Twilio payloads and what they mean."""

import msgspec
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

SID = "CA5ef8732a3c49700934481addd5ce1659"
STREAM = "MZ18ad3ab5a668481ce02b83e7395059f0"


@pytest.mark.parametrize(
    ("file", "type", "cause"),
    [
        ("status_initiated.json", CallEventType.CALL_INITIATED, None),
        ("status_ringing.json", CallEventType.CALL_RINGING, None),
        ("status_in_progress.txt", CallEventType.CALL_ANSWERED, None),
        ("status_completed.txt", CallEventType.CALL_ENDED, CallEndCause.COMPLETED),
        ("status_no_answer.json", CallEventType.CALL_ENDED, CallEndCause.NO_ANSWER),
    ],
)
def test_a_status_callback_is_a_step_of_the_call(file: str, type: CallEventType, cause: CallEndCause | None) -> None:
    event = only(see_file(f"twilio/{file}"))
    assert (event.type, event.cause, event.call_id) == (type, cause, SID)


@pytest.mark.parametrize(
    ("status", "cause"),
    [("busy", CallEndCause.BUSY), ("failed", CallEndCause.FAILED), ("canceled", CallEndCause.CANCELED)],
)
def test_each_way_a_call_can_end_has_its_cause(status: str, cause: CallEndCause) -> None:
    payload = load("twilio/status_no_answer.json") | {"CallStatus": status}
    assert only(see("twilio", payload)).cause is cause


def test_numbers_sent_as_text_are_numbers_and_the_sequence_counts_within_the_call() -> None:
    event = only(see_file("twilio/status_completed.txt"))
    assert (event.sequence, event.sequence_scope) == (3, f"twilio:status:{SID}")


def test_call_duration_is_in_seconds_and_the_billed_minutes_are_not_taken_for_it() -> None:
    assert only(see_file("twilio/status_completed.txt")).duration_ms == 127_000


def test_occurred_at_is_read_from_rfc_2822() -> None:
    assert iso(only(see_file("twilio/status_initiated.json")).occurred_at) == "2026-02-12T11:48:25.000Z"


def test_occurred_at_is_null_when_the_time_is_none() -> None:
    payload = load("twilio/status_initiated.json") | {"Timestamp": "yesterday, at noon"}
    assert only(see("twilio", payload)).occurred_at is None


def test_a_status_nobody_heard_of_is_unknown_and_keeps_its_name() -> None:
    event = only(see_file("twilio/status_unheard_of.json"))
    assert (event.type, event.provider_type) == (CallEventType.UNKNOWN, "on-the-moon")


def test_a_call_that_a_machine_answered_ends_as_voicemail_after_the_machine_is_told() -> None:
    machine, end = see_file("twilio/status_completed_by_machine.json").events
    assert (machine.type, machine.answered_by) == (CallEventType.MACHINE_DETECTED, AnsweredBy.MACHINE)
    assert (end.type, end.cause) == (CallEventType.CALL_ENDED, CallEndCause.VOICEMAIL)


def test_terminal_first_arrival_needs_no_earlier_event() -> None:
    seen = see("twilio", load("twilio/status_no_answer.json") | {"SequenceNumber": "0"})
    assert only(seen).type is CallEventType.CALL_ENDED
    assert seen.call == ("twilio", SID)


@pytest.mark.parametrize(
    ("answered_by", "kind"),
    [
        ("human", AnsweredBy.HUMAN),
        ("machine_start", AnsweredBy.MACHINE),
        ("machine_end_beep", AnsweredBy.MACHINE),
        ("machine_end_silence", AnsweredBy.MACHINE),
        ("machine_end_other", AnsweredBy.MACHINE),
        ("fax", AnsweredBy.FAX),
        ("unknown", AnsweredBy.UNKNOWN),
        ("parrot", AnsweredBy.UNKNOWN),
    ],
)
def test_answering_machine_detection_says_who_answered(answered_by: str, kind: AnsweredBy) -> None:
    event = only(see("twilio", load("twilio/amd_human.json") | {"AnsweredBy": answered_by}))
    assert (event.type, event.answered_by, event.provider_type) == (
        CallEventType.MACHINE_DETECTED, kind, answered_by,
    )  # fmt: skip
    assert (event.confidence, event.confidence_kind) == (None, ConfidenceKind.AMD)


def test_the_same_detection_told_by_its_callback_and_by_a_status_is_one_event() -> None:
    told = see_file("twilio/status_completed_by_machine.json").events[0]
    assert only(see_file("twilio/amd_machine.txt")).event_id == told.event_id


def test_a_retry_with_the_same_idempotency_token_has_the_same_event_id() -> None:
    token = {"i-twilio-idempotency-token": "a2b1-token"}
    first = only(see_file("twilio/status_ringing.json", token))
    assert first.event_id == only(see_file("twilio/status_ringing.json", token)).event_id
    assert first.provider_event_id == "a2b1-token"


def test_without_a_token_call_status_and_sequence_tell_repeats() -> None:
    payload = load("twilio/status_ringing.json")
    again = only(see("twilio", payload, received_at=1_770_900_009_000_000))
    assert only(see("twilio", payload)).event_id == again.event_id
    assert only(see("twilio", payload | {"SequenceNumber": "2"})).event_id != again.event_id
    assert only(see("twilio", payload | {"CallStatus": "busy"})).event_id != again.event_id


def test_form_encoded_and_json_callbacks_are_the_same_event() -> None:
    form = "&".join(f"{k}={v.replace('+', '%2B')}" for k, v in load("twilio/status_ringing.json").items())
    assert see("twilio", form) == see_file("twilio/status_ringing.json")


def test_the_lead_comes_from_the_form_or_from_the_query_of_the_callback_address() -> None:
    in_form = see("twilio", load("twilio/status_ringing.json") | {"lead_id": "lead-9"})
    in_query = see_file("twilio/status_ringing.json", {"x-original-url": "https://p.example/cb?lead_id=lead-9&x=1"})
    assert only(in_form).lead_id == only(in_query).lead_id == "lead-9"
    assert only(see_file("twilio/status_ringing.json")).lead_id is None


def test_a_field_appended_twice_keeps_its_first_value() -> None:
    assert only(see("twilio", f"CallSid={SID}&CallStatus=ringing&lead_id=a&lead_id=b")).lead_id == "a"


@pytest.mark.parametrize(
    ("file", "type"),
    [
        ("status_child_answered.json", CallEventType.CALL_ANSWERED),
        ("status_child_busy.json", CallEventType.CALL_ENDED),
    ],
)
def test_a_child_call_belongs_to_its_parent_as_another_leg(file: str, type: CallEventType) -> None:
    seen = see_file(f"twilio/{file}")
    event = only(seen)
    assert (event.type, event.call_id, event.leg_id) == (type, SID, "CAa1d4c1d2f2b9c0a5a30f3f7b2a6d9e11")
    assert seen.other_leg
    assert seen.ids == (("twilio", "CAa1d4c1d2f2b9c0a5a30f3f7b2a6d9e11"),)


def test_the_answer_to_dial_is_the_fate_of_the_transfer_and_no_change_of_the_call() -> None:
    event = only(see_file("twilio/dial_action_no_answer.json"))
    assert (event.type, event.provider_type) == (CallEventType.TRANSFER_FAILED, "dial no-answer")


def test_speech_that_gather_heard_is_a_final_segment_of_the_lead() -> None:
    segment = only(see_file("twilio/gather_speech.json"))
    assert (segment.status, segment.text) == (SegmentStatus.FINAL, "Please stop calling me.")
    assert (segment.speaker, segment.confidence) == (Speaker.LEAD, 0.93)


def test_a_partial_has_stability_and_no_confidence_of_recognition() -> None:
    segment = only(see_file("twilio/rtt_partial.json"))
    assert (segment.status, segment.text) == (SegmentStatus.INTERIM, "yes that sounds")
    assert (segment.confidence, segment.confidence_kind) == (0.9, ConfidenceKind.STABILITY)


def test_a_partial_without_stability_has_no_confidence_of_any_kind() -> None:
    payload = load("twilio/rtt_partial.json")
    del payload["Stability"]
    segment = only(see("twilio", payload))
    assert (segment.confidence, segment.confidence_kind) == (None, ConfidenceKind.NONE)


def test_a_final_is_read_out_of_json_inside_a_string_and_broken_provider_data_does_no_harm() -> None:
    segment = only(see_file("twilio/rtt_final.txt"))
    assert (segment.status, segment.text) == (SegmentStatus.FINAL, "Yes, that sounds good.")
    assert (segment.confidence, segment.confidence_kind) == (0.9956335, ConfidenceKind.ASR)
    assert (segment.track, segment.speaker, segment.language) == (Track.INBOUND, Speaker.LEAD, "en-US")


def test_what_is_said_on_the_outbound_track_the_agent_said() -> None:
    segment = only(see_file("twilio/rtt_final_agent.json"))
    assert (segment.track, segment.speaker) == (Track.OUTBOUND, Speaker.AGENT)


def test_sequence_ids_of_different_tracks_have_different_scopes() -> None:
    lead, agent = only(see_file("twilio/rtt_final.txt")), only(see_file("twilio/rtt_final_agent.json"))
    assert (lead.sequence, agent.sequence) == (71, 72)
    assert lead.sequence_scope != agent.sequence_scope


def test_partials_of_a_track_share_a_segment_and_each_final_has_its_own() -> None:
    partial = load("twilio/rtt_partial.json")
    first, second = only(see("twilio", partial)), only(see("twilio", partial | {"SequenceId": "69"}))
    assert first.segment_id == second.segment_id
    assert first.event_id != second.event_id
    assert only(see_file("twilio/rtt_final.txt")).segment_id != first.segment_id


def test_an_empty_final_is_no_segment() -> None:
    assert see_file("twilio/rtt_empty_final.json").events == ()


@pytest.mark.parametrize("file", ["rtt_started.json", "rtt_stopped.json", "rtt_error.json"])
def test_notices_about_the_transcription_are_unknown_and_keep_their_name(file: str) -> None:
    event = only(see_file(f"twilio/{file}"))
    assert (event.type, event.provider_type) == (
        CallEventType.UNKNOWN, load(f"twilio/{file}")["TranscriptionEvent"],
    )  # fmt: skip


def test_a_transcription_error_is_explained() -> None:
    assert "32655" in only(see_file("twilio/rtt_error.json")).detail


@pytest.mark.parametrize("data", ["not json", "[]", "{}", '{"transcript": 7}', "[" * 5000])
def test_transcription_data_that_is_no_transcript_is_a_payload_error(data: str) -> None:
    with pytest.raises(PayloadError, match="TranscriptionData"):
        see("twilio", load("twilio/rtt_partial.json") | {"TranscriptionData": data})


def test_a_transcript_too_long_is_refused_and_not_cut() -> None:
    data = '{"transcript":"%s"}' % ("no " * 3000)
    with pytest.raises(PayloadError, match="at most 8000"):
        see("twilio", load("twilio/rtt_partial.json") | {"TranscriptionData": data})


def test_a_media_stream_gives_events_for_what_matters_and_none_for_media() -> None:
    events = see_list("twilio/media_stream.json")
    assert [(event.provider_type, event.type) for event in events] == [
        ("start", CallEventType.CALL_ANSWERED),
        ("dtmf", CallEventType.DTMF),
        ("mark", CallEventType.SPEECH_STOPPED),
        ("clear", CallEventType.BARGE_IN),
        ("stop", CallEventType.UNKNOWN),
    ]


def test_start_tells_the_lead_and_ties_the_stream_to_the_call() -> None:
    seen = see("twilio", load("twilio/media_stream.json")[1])
    event = only(seen)
    assert (event.lead_id, event.agent_id, event.call_id) == ("lead-17", "booker-2", SID)
    assert (seen.call, seen.ids) == (("twilio", SID), (("twilio", STREAM),))


def test_a_key_press_carries_its_digit_and_the_sequence_of_its_stream() -> None:
    event = only(see("twilio", load("twilio/media_stream.json")[3]))
    assert (event.digits, event.sequence, event.sequence_scope) == ("9", 3, f"twilio:stream:{STREAM}")


def test_clearing_the_buffer_is_a_barge_in_of_the_lead() -> None:
    event = only(see("twilio", load("twilio/media_stream.json")[7]))
    assert (event.type, event.speaker) == (CallEventType.BARGE_IN, Speaker.LEAD)


def test_a_mark_that_comes_back_ends_agent_speech_and_one_on_its_way_out_says_nothing() -> None:
    messages = load("twilio/media_stream.json")
    assert only(see("twilio", messages[4])).speaker is Speaker.AGENT
    assert see("twilio", messages[5]).events == ()


def test_an_event_stream_event_is_the_callback_inside_it() -> None:
    wrapped, plain = only(see_file("twilio/event_stream_ringing.json")), only(see_file("twilio/status_ringing.json"))
    assert wrapped.provider_event_id == "NO00000000000000000000000000000001"
    assert msgspec.structs.replace(wrapped, provider_event_id=None) == plain


@pytest.mark.parametrize(
    "payload",
    [
        {}, {"CallSid": ""}, {"CallSid": "v3:telnyx"}, {"CallSid": None}, "hello", "", {"event": "start"},
        {"event": "call_ended", "call": {}}, {"event": "connected"}, {"specversion": "1.0", "data": {}}, [1],
        {"CallSid": "CA" + "1" * 300}, "&".join(f"a{i}=1" for i in range(300)),
    ],
)  # fmt: skip
def test_what_is_not_twilios_is_a_payload_error(payload: object) -> None:
    with pytest.raises(PayloadError):
        see("twilio", payload)
