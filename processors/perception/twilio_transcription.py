"""Twilio Real-Time Transcription callbacks (twilio.com/docs/voice/twiml/transcription).

Twilio gives no id of an utterance: partial results of a track share one segment, replaced by each of them; each
final result is a segment of its own.
"""

from collections.abc import Mapping

from processors.perception.fields import detail, ident, moment, repeat_key, string, transcript, unit, whole
from processors.perception.fields import flag as is_true
from processors.perception.payload import (
    CallKey,
    Claim,
    Event,
    JsonObject,
    Payload,
    PayloadError,
    Perception,
    json_object,
)
from processors.perception.scene import SPEAKER_ON, Scene
from schemas.records import CallEventType, ConfidenceKind, SegmentStatus, Track

PROVIDER = "twilio"
_CONTENT = "transcription-content"
_TRACKS: Mapping[str, Track] = {"inbound_track": Track.INBOUND, "outbound_track": Track.OUTBOUND}


def perceive(payload: Payload, fields: JsonObject, call_sid: str, claim: Claim) -> Perception:
    """Events of one callback with a TranscriptionEvent; an empty final gives none."""
    session = ident(fields, "TranscriptionSid")
    if session is None:
        raise PayloadError("Twilio transcription: expected a TranscriptionSid")
    call: CallKey = claim.call or (PROVIDER, call_sid)
    event = string(fields, "TranscriptionEvent").strip()
    order = string(fields, "SequenceId").strip() or repeat_key(payload)
    track = string(fields, "Track").strip()
    scene = Scene(
        provider=PROVIDER,
        call_id=call[1],
        leg_id=call_sid,
        key=("transcription", session, order, event),
        claim=claim,
        received_at=payload.received_at,
        occurred_at=moment(fields.get("Timestamp")),
        provider_type=event,
        sequence=whole(fields.get("SequenceId")),
        # Ordering is guaranteed per track, not across tracks.
        sequence_scope=f"{PROVIDER}:transcription:{session}:{track}"[:200],
    )
    return Perception(
        events=_content(scene, fields, (session, track, order)) if event == _CONTENT else (_notice(scene, fields),),
        call=call,
        ids=((PROVIDER, call_sid),) if call != (PROVIDER, call_sid) else (),
        claim=claim,
    )


def _content(scene: Scene, fields: JsonObject, place: tuple[str, str, str]) -> tuple[Event, ...]:
    session, track, order = place
    data = fields.get("TranscriptionData")
    if isinstance(data, str):
        data = json_object(data, "TranscriptionData")
    if not isinstance(data, dict):
        raise PayloadError("TranscriptionData: expected a JSON object as text, with transcript")
    text = transcript(data.get("transcript"), "TranscriptionData.transcript")
    if not text:
        return ()
    final = is_true(fields.get("Final"))
    side = _TRACKS.get(track, Track.UNKNOWN)
    # Partial results carry Stability and no confidence, final ones the opposite.
    kind = ConfidenceKind.ASR if "confidence" in data else ConfidenceKind.STABILITY
    return (
        scene.segment(
            SegmentStatus.FINAL if final else SegmentStatus.INTERIM,
            text,
            segment=(session, track, order if final else "partial"),
            track=side,
            speaker=SPEAKER_ON[side],
            language=string(fields, "LanguageCode"),
            confidence=unit(data["confidence"] if kind is ConfidenceKind.ASR else fields.get("Stability")),
            confidence_kind=kind,
        ),
    )


def _notice(scene: Scene, fields: JsonObject) -> Event:
    """Started, stopped, error and what else Twilio may add: the vocabulary has no word for it."""
    return scene.event(
        CallEventType.UNKNOWN,
        detail=detail(
            ("TranscriptionErrorCode", string(fields, "TranscriptionErrorCode")),
            ("TranscriptionError", string(fields, "TranscriptionError")),
        ),
    )
