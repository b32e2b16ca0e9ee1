"""Deepgram messages and what they mean."""

import pytest
from perceiving import load, only, see, see_file, see_list

from processors.perception import PayloadError
from schemas.jsonio import iso
from schemas.records import (
    CallEvent,
    CallEventType,
    ConfidenceKind,
    SegmentStatus,
    Speaker,
    Track,
    TranscriptSegment,
)

REQUEST = "c84f8b87-1eff-40a4-a8a1-aeacd24dc1c1"
TIED = {"x-mandate-call-id": "twilio:CA123", "x-mandate-lead-id": "lead-8"}
SESSION = {"dg-request-id": REQUEST}


def test_a_final_result_is_a_final_segment_with_recognition_confidence() -> None:
    segment = only(see_file("deepgram/results_final.json"))
    assert (segment.status, segment.text) == (SegmentStatus.FINAL, "Not right now.")
    assert (segment.confidence, segment.confidence_kind) == (0.98, ConfidenceKind.ASR)
    assert (segment.call_id, segment.lead_id, segment.speaker) == (REQUEST, "lead-31", Speaker.LEAD)


def test_interim_and_final_results_of_one_stretch_share_a_segment() -> None:
    interim, final = (only(see_file(f"deepgram/results_{name}.json")) for name in ("interim", "final"))
    assert interim.status is SegmentStatus.INTERIM
    assert interim.segment_id == final.segment_id
    assert interim.event_id != final.event_id


def test_the_same_result_twice_has_the_same_event_id() -> None:
    first = see_file("deepgram/results_final.json")
    again = see("deepgram", load("deepgram/results_final.json"), received_at=1_770_900_100_000_000)
    assert only(first).event_id == only(again).event_id


def test_speech_final_also_stops_the_leads_speech() -> None:
    segment, stopped = see_file("deepgram/results_speech_final.json").events
    assert segment.text == "Call me next week."
    assert (stopped.type, stopped.speaker) == (CallEventType.SPEECH_STOPPED, Speaker.LEAD)
    assert segment.event_id != stopped.event_id


def test_an_empty_final_is_no_segment_but_its_speech_final_mark_stops_speech() -> None:
    event = only(see_file("deepgram/results_empty_final.json"))
    assert (event.type, event.confidence_kind) == (CallEventType.SPEECH_STOPPED, ConfidenceKind.VAD)


def test_an_empty_final_without_the_mark_gives_nothing() -> None:
    assert see("deepgram", load("deepgram/results_empty_final.json") | {"speech_final": False}).events == ()


def test_the_lead_may_come_from_a_tag() -> None:
    assert see_file("deepgram/results_speech_final.json").claim.lead_id == "lead-31"


def test_of_two_channels_the_first_is_the_leads_and_the_second_the_agents() -> None:
    agent, lead = see_list("deepgram/results_stereo.json")
    assert (agent.track, agent.speaker) == (Track.OUTBOUND, Speaker.AGENT)
    assert (lead.track, lead.speaker) == (Track.INBOUND, Speaker.LEAD)


def test_a_mixed_channel_has_no_known_speaker_when_the_platform_says_so() -> None:
    assert only(see_file("deepgram/results_final.json", {"x-mandate-track": "mixed"})).speaker is Speaker.UNKNOWN


def test_speech_started_is_tied_by_header_because_it_carries_no_id() -> None:
    seen = see_file("deepgram/speech_started.json", TIED)
    event = only(seen)
    assert (event.type, event.speaker, event.confidence_kind) == (
        CallEventType.SPEECH_STARTED, Speaker.LEAD, ConfidenceKind.VAD,
    )  # fmt: skip
    assert (event.call_id, event.lead_id, seen.call) == ("CA123", "lead-8", ("twilio", "CA123"))
    assert only(see_file("deepgram/speech_started.json", SESSION)).call_id == REQUEST


def test_a_session_without_any_id_is_perceived_and_names_no_call() -> None:
    assert see_file("deepgram/speech_started.json").call is None


@pytest.mark.parametrize(
    ("header", "call"),
    [
        ("telnyx:v3:abc", ("telnyx", "v3:abc")),
        ("v3:abc", ("telnyx", "v3:abc")),
        ("CA0123", ("twilio", "CA0123")),
        ("my-pbx:17:4", ("my-pbx", "17:4")),
    ],
)
def test_the_call_header_names_the_telephony_call(header: str, call: tuple[str, str]) -> None:
    seen = see_file("deepgram/results_final.json", {"x-mandate-call-id": header})
    assert (seen.call, seen.ids) == (call, (("deepgram", REQUEST),))


def test_a_call_header_that_names_no_provider_is_a_payload_error() -> None:
    with pytest.raises(PayloadError, match="provider:call-id"):
        see_file("deepgram/results_final.json", {"x-mandate-call-id": "4711"})


def test_utterance_end_stops_speech_and_minus_one_does_not_make_two_ends_one() -> None:
    message = load("deepgram/utterance_end.json")[1]
    first, later = (only(see("deepgram", message, SESSION, received_at=at)) for at in (10**15, 10**15 + 1))
    assert first.type is later.type is CallEventType.SPEECH_STOPPED
    assert first.event_id != later.event_id


def test_metadata_gives_no_event_but_the_id_of_the_session() -> None:
    seen = see_file("deepgram/metadata.json")
    assert (seen.events, seen.call) == ((), ("deepgram", REQUEST))


def test_a_flux_turn_is_interim_until_it_ends() -> None:
    told = [(e.provider_type, getattr(e, "status", None) or e.type) for e in see_list("deepgram/flux_turn.json")]
    assert told == [
        ("StartOfTurn", CallEventType.SPEECH_STARTED),
        ("Update", SegmentStatus.INTERIM),
        ("EagerEndOfTurn", SegmentStatus.INTERIM),
        ("TurnResumed", SegmentStatus.WITHDRAWN),
        ("TurnResumed", SegmentStatus.INTERIM),
        ("EagerEndOfTurn", SegmentStatus.INTERIM),
        ("EndOfTurn", SegmentStatus.FINAL),
        ("EndOfTurn", CallEventType.SPEECH_STOPPED),
        ("Whatever", CallEventType.UNKNOWN),
    ]


def test_turn_resumed_withdraws_the_eager_end_and_leaves_the_turns_own_segment_alone() -> None:
    segments = [e for e in see_list("deepgram/flux_turn.json") if isinstance(e, TranscriptSegment)]
    update, eager, withdrawn, resumed, _, final = segments
    assert withdrawn.segment_id == eager.segment_id
    assert withdrawn.text == ""
    assert update.segment_id == resumed.segment_id == final.segment_id != eager.segment_id


def test_end_of_turn_confidence_is_kept_apart_from_recognition_confidence() -> None:
    events = see_list("deepgram/flux_turn.json")
    eager, final, stopped = events[2], events[6], events[7]
    assert (eager.confidence, eager.confidence_kind) == (0.45, ConfidenceKind.END_OF_TURN)
    assert (stopped.confidence, stopped.confidence_kind) == (0.87, ConfidenceKind.END_OF_TURN)
    assert (final.confidence, final.confidence_kind) == (0.866667, ConfidenceKind.ASR)


def test_flux_counts_every_message_of_a_request() -> None:
    event = see_list("deepgram/flux_turn.json")[0]
    assert (event.sequence, event.sequence_scope) == (1, f"deepgram:{event.call_id}")


def test_voice_agent_messages_tell_who_speaks() -> None:
    events = [e for e in see_list("deepgram/agent_session.json", SESSION) if isinstance(e, CallEvent)]
    assert [(e.provider_type, e.type, e.speaker) for e in events] == [
        ("UserStartedSpeaking", CallEventType.SPEECH_STARTED, Speaker.LEAD),
        ("AgentThinking", CallEventType.UNKNOWN, Speaker.UNKNOWN),
        ("AgentStartedSpeaking", CallEventType.SPEECH_STARTED, Speaker.AGENT),
        ("AgentAudioDone", CallEventType.SPEECH_STOPPED, Speaker.AGENT),
        ("Error", CallEventType.UNKNOWN, Speaker.UNKNOWN),
    ]
    assert events[-1].detail == "code: THINK_FAILED; description: Think provider failed"


def test_conversation_text_is_a_final_segment_of_its_role_with_no_confidence() -> None:
    segments = [e for e in see_list("deepgram/agent_session.json", SESSION) if isinstance(e, TranscriptSegment)]
    assert [(s.speaker, s.status) for s in segments] == [
        (Speaker.LEAD, SegmentStatus.FINAL), (Speaker.AGENT, SegmentStatus.FINAL), (Speaker.LEAD, SegmentStatus.FINAL),
    ]  # fmt: skip
    assert {s.confidence for s in segments} == {None}


def test_the_same_words_received_later_are_said_again_and_not_a_repeat() -> None:
    said = load("deepgram/agent_session.json")[3]
    first, again = (only(see("deepgram", said, SESSION, received_at=at)) for at in (10**15, 10**15 + 1))
    assert first.event_id != again.event_id
    assert first.segment_id != again.segment_id


def test_messages_recorded_by_an_sdk_are_unwrapped_with_their_time() -> None:
    started, unknown = see_list("deepgram/agent_recorded_by_sdk.json", SESSION)
    assert (started.type, iso(started.occurred_at)) == (CallEventType.SPEECH_STARTED, "2025-08-01T22:59:13.320954Z")
    assert (unknown.type, unknown.provider_type) == (CallEventType.UNKNOWN, "EndOfThought")


@pytest.mark.parametrize(
    "payload",
    [
        {}, [], "x", {"type": 7}, {"type": "Results"}, {"type": "Results", "channel": {"alternatives": []}},
        {"type": "TurnInfo"}, {"type": "Begin", "id": "a"}, {"type": "SpeechStarted", "timestamp": 1},
        {"type": "ConversationText", "role": "user"}, {"message": {"type": "transcript"}},
        {"type": "Unhandled", "timestamp": 1.0, "data": {"raw": "{"}},
    ],
)  # fmt: skip
def test_what_is_not_deepgrams_is_a_payload_error(payload: object) -> None:
    with pytest.raises(PayloadError):
        see("deepgram", payload)
