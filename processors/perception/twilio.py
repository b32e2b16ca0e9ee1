"""Twilio: callbacks (form-encoded, or a JSON object of strings), Event Streams, and media stream messages.

Sources: twilio.com/docs/voice/api/call-resource (status callbacks), /voice/answering-machine-detection,
/voice/twiml/transcription, /voice/media-streams/websocket-messages, /events.
"""

from dataclasses import replace
from urllib.parse import parse_qsl

from processors.perception import twilio_stream, twilio_transcription
from processors.perception.claims import claim_of
from processors.perception.fields import child, detail, ident, moment, repeat_key, string, transcript, unit, whole
from processors.perception.payload import (
    MAX_BODY,
    Event,
    JsonObject,
    Payload,
    PayloadError,
    Perception,
    is_json,
    json_object,
)
from processors.perception.scene import Scene
from schemas.records import (
    AnsweredBy,
    CallEndCause,
    CallEventType,
    ConfidenceKind,
    SegmentStatus,
    Speaker,
    Track,
)

PROVIDER = "twilio"
IDEMPOTENCY_HEADER = "i-twilio-idempotency-token"
_MAX_FIELDS = 200

_ENDINGS = {
    "completed": CallEndCause.COMPLETED,
    "busy": CallEndCause.BUSY,
    "no-answer": CallEndCause.NO_ANSWER,
    "failed": CallEndCause.FAILED,
    "canceled": CallEndCause.CANCELED,
}
_STATUSES = {
    "initiated": CallEventType.CALL_INITIATED,
    "ringing": CallEventType.CALL_RINGING,
    "in-progress": CallEventType.CALL_ANSWERED,
    "answered": CallEventType.CALL_ANSWERED,
    **dict.fromkeys(_ENDINGS, CallEventType.CALL_ENDED),
}
_DIALS = {
    "completed": CallEventType.TRANSFER_COMPLETED,
    "answered": CallEventType.TRANSFER_COMPLETED,
    **dict.fromkeys(("busy", "no-answer", "failed", "canceled"), CallEventType.TRANSFER_FAILED),
}
_CONFERENCE = {"participant-hold": CallEventType.HOLD, "participant-unhold": CallEventType.UNHOLD}


def perceive(payload: Payload) -> Perception:
    """Events of one Twilio payload; PayloadError when it is none."""
    if not is_json(payload.body):
        return _callback(payload, _form(payload.body))
    body = json_object(payload.body, "Twilio payload")
    if "specversion" in body:
        return _callback(payload, _event_stream(body), ident(body, "id"))
    if "CallSid" not in body and "event" in body:
        return twilio_stream.perceive(payload, body)
    return _callback(payload, body)


def _form(body: bytes) -> JsonObject:
    if len(body) > MAX_BODY:
        raise PayloadError(f"Twilio payload: {len(body)} bytes, at most {MAX_BODY} are taken")
    try:
        pairs = parse_qsl(body.decode("utf-8").strip(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise PayloadError(f"Twilio payload: neither JSON nor a form-encoded body ({error})") from error
    # A field that is sent twice keeps its first value: one appended to the body changes nothing.
    return dict(reversed(pairs))


def _event_stream(body: JsonObject) -> JsonObject:
    parameters = child(child(child(body, "data"), "request"), "parameters")
    if not parameters:
        raise PayloadError(
            "Twilio event: data.request.parameters is empty; expected a com.twilio.voice.status-callback event"
        )
    return parameters


def _callback(payload: Payload, fields: JsonObject, event_id: str | None = None) -> Perception:
    call_sid = ident(fields, "CallSid")
    if call_sid is None or not call_sid.startswith("CA"):
        raise PayloadError("Twilio payload: expected a CallSid (CA…), or a media stream message with its event")
    claim = claim_of(payload, fields)
    if "TranscriptionEvent" in fields:
        return twilio_transcription.perceive(payload, fields, call_sid, claim)
    parent = ident(fields, "ParentCallSid")
    call = claim.call or (PROVIDER, parent or call_sid)
    token = ident(payload.headers, IDEMPOTENCY_HEADER)
    sequence = whole(fields.get("SequenceNumber"))
    scene = Scene(
        provider=PROVIDER,
        call_id=call[1],
        leg_id=call_sid,
        key=("token", token, call_sid) if token else ("call", call_sid, string(fields, "SequenceNumber")),
        claim=claim,
        received_at=payload.received_at,
        occurred_at=moment(fields.get("Timestamp")),
        provider_event_id=token or event_id,
        sequence=sequence,
        sequence_scope=f"{PROVIDER}:status:{call_sid}",
    )
    return Perception(
        events=tuple(_events(scene, fields, payload)),
        call=call,
        ids=((PROVIDER, call_sid),) if call != (PROVIDER, call_sid) else (),
        other_leg=parent is not None,
        claim=claim,
    )


def _events(scene: Scene, fields: JsonObject, payload: Payload) -> list[Event]:
    incidental = _answer_to_twiml(scene, fields, payload)
    status = string(fields, "CallStatus").strip()
    # Answers to <Dial> and <Gather> carry the call's status too, but report no change of it.
    changed = [_status(scene, fields, status)] if status and not incidental else []
    machine = _machine(scene, fields)
    ending = status in _ENDINGS
    found: list[Event] = [*machine, *changed] if ending else [*changed, *machine]
    return [*incidental, *found] or [_unknown(scene, fields)]


def _status(scene: Scene, fields: JsonObject, status: str) -> Event:
    cause = _ENDINGS.get(status)
    if cause is CallEndCause.COMPLETED and string(fields, "AnsweredBy").startswith("machine"):
        cause = CallEndCause.VOICEMAIL
    # CallDuration is in seconds; Duration is what is billed, in minutes.
    seconds = whole(fields.get("CallDuration"))
    return scene.event(
        _STATUSES.get(status, CallEventType.UNKNOWN),
        provider_type=status,
        key=(*scene.key, status),
        cause=cause,
        duration_ms=seconds * 1000 if seconds is not None and cause is not None else None,
        detail=detail(
            ("SipResponseCode", string(fields, "SipResponseCode")),
            ("ErrorCode", string(fields, "ErrorCode")),
            ("ErrorMessage", string(fields, "ErrorMessage")),
        ),
    )


def _machine(scene: Scene, fields: JsonObject) -> list[Event]:
    answered_by = string(fields, "AnsweredBy").strip()
    if not answered_by:
        return []
    kinds = {"human": AnsweredBy.HUMAN, "fax": AnsweredBy.FAX}
    kind = AnsweredBy.MACHINE if answered_by.startswith("machine") else kinds.get(answered_by, AnsweredBy.UNKNOWN)
    return [
        scene.event(
            CallEventType.MACHINE_DETECTED,
            provider_type=answered_by,
            # Told again with each later status of the call, and by its own callback: one event.
            key=("amd", scene.leg_id or "", answered_by),
            answered_by=kind,
            confidence_kind=ConfidenceKind.AMD,
            detail=detail(("MachineDetectionDuration", string(fields, "MachineDetectionDuration"))),
        )
    ]


def _answer_to_twiml(scene: Scene, fields: JsonObject, payload: Payload) -> list[Event]:
    """What <Dial>, <Gather> and conferences report. They number nothing, so a repeat is told by its reception."""
    key = ("twiml", scene.leg_id or "", scene.provider_event_id or repeat_key(payload))
    found: list[Event] = []
    dial, digits, speech = (string(fields, name).strip() for name in ("DialCallStatus", "Digits", "SpeechResult"))
    if dial:
        type = _DIALS.get(dial, CallEventType.UNKNOWN)
        found.append(scene.event(type, provider_type=f"dial {dial}", key=(*key, "dial")))
    conference = _CONFERENCE.get(string(fields, "StatusCallbackEvent"))
    if conference:
        found.append(scene.event(conference, provider_type=string(fields, "StatusCallbackEvent"), key=key))
    if digits:
        found.append(scene.event(CallEventType.DTMF, provider_type="gather", key=key, digits=digits[:64]))
    if speech:
        found.append(
            replace(scene, key=key, provider_type="gather", sequence=None).segment(
                SegmentStatus.FINAL,
                transcript(speech, "SpeechResult"),
                segment=("gather", *key),
                track=Track.INBOUND,
                speaker=Speaker.LEAD,
                language=string(fields, "Language"),
                confidence=unit(fields.get("Confidence")),
                confidence_kind=ConfidenceKind.ASR,
            )
        )
    return found


def _unknown(scene: Scene, fields: JsonObject) -> Event:
    names = ("StatusCallbackEvent", "StreamEvent", "RecordingStatus", "CallbackSource")
    name = next((string(fields, name) for name in names if string(fields, name)), "callback")
    return scene.event(
        CallEventType.UNKNOWN,
        provider_type=name,
        key=(*scene.key, name, string(fields, "StreamSid"), string(fields, "Timestamp")),
        detail=detail(("StreamError", string(fields, "StreamError"))),
    )
