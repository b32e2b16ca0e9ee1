"""Telnyx Voice API (call control) webhooks.

Sources: developers.telnyx.com/docs/voice/programmable-voice (webhooks, answering machine detection), and the types
of team-telnyx/telnyx-python. The call is the session, because it outlives its legs; a leg's own ids tell the lead's
leg from those it is transferred to.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from processors.perception.claims import claim_of, decode_state, track_of
from processors.perception.fields import child, detail, flag, ident, moment, shown, string, transcript, unit, whole
from processors.perception.payload import (
    CallKey,
    Event,
    JsonObject,
    Payload,
    PayloadError,
    Perception,
    json_object,
)
from processors.perception.scene import SPEAKER_ON, Scene
from schemas.records import (
    AnsweredBy,
    CallEndCause,
    CallEventType,
    ConfidenceKind,
    SegmentStatus,
    Speaker,
    Track,
)

PROVIDER = "telnyx"
_LEG_IDS = ("call_leg_id", "call_control_id")

Mapper = Callable[[Scene, JsonObject, Payload], tuple[Event, ...]]


class _Plain(NamedTuple):
    """An event that means one thing; `explained_by` are the fields that go into its detail."""

    type: CallEventType
    speaker: Speaker = Speaker.UNKNOWN
    explained_by: tuple[str, ...] = ()


_PLAIN: Mapping[str, _Plain] = {
    "call.initiated": _Plain(CallEventType.CALL_INITIATED, explained_by=("direction",)),
    "call.ringing": _Plain(CallEventType.CALL_RINGING),
    "call.answered": _Plain(CallEventType.CALL_ANSWERED),
    "call.bridged": _Plain(CallEventType.TRANSFER_COMPLETED),
    "call.hold": _Plain(CallEventType.HOLD),
    "call.unhold": _Plain(CallEventType.UNHOLD),
    "call.refer.started": _Plain(CallEventType.TRANSFER_STARTED),
    "call.refer.failed": _Plain(CallEventType.TRANSFER_FAILED, explained_by=("sip_notify_response",)),
    "call.speak.started": _Plain(CallEventType.SPEECH_STARTED, Speaker.AGENT),
    "call.speak.ended": _Plain(CallEventType.SPEECH_STOPPED, Speaker.AGENT, ("status",)),
    "call.playback.started": _Plain(CallEventType.SPEECH_STARTED, Speaker.AGENT),
    "call.playback.ended": _Plain(CallEventType.SPEECH_STOPPED, Speaker.AGENT, ("status", "status_detail")),
}
_CAUSES = {
    "normal_clearing": CallEndCause.COMPLETED,
    "user_busy": CallEndCause.BUSY,
    "call_rejected": CallEndCause.BUSY,
    "no_answer": CallEndCause.NO_ANSWER,
    "timeout": CallEndCause.NO_ANSWER,
    "originator_cancel": CallEndCause.CANCELED,
    "not_found": CallEndCause.FAILED,
}
_ANSWERED_BY = {
    "human": AnsweredBy.HUMAN,
    "human_residence": AnsweredBy.HUMAN,
    "human_business": AnsweredBy.HUMAN,
    "machine": AnsweredBy.MACHINE,
    "fax_detected": AnsweredBy.FAX,
}
_TRACKS = {"inbound": Track.INBOUND, "outbound": Track.OUTBOUND}


def perceive(payload: Payload) -> Perception:
    """Events of one Telnyx webhook; PayloadError when it is none, or not about a call."""
    data = child(json_object(payload.body, "Telnyx webhook"), "data")
    name, event_id = ident(data, "event_type"), ident(data, "id")
    body = child(data, "payload")
    if name is None or event_id is None or not isinstance(data.get("payload"), dict):
        raise PayloadError("Telnyx webhook: expected data with event_type, id and payload")
    session = ident(body, "call_session_id")
    legs: list[CallKey] = [(PROVIDER, leg) for field in _LEG_IDS if (leg := ident(body, field))]
    if session is None and not legs:
        raise PayloadError(
            f"Telnyx webhook {shown(name)}: not about a call (no call_session_id, call_leg_id, call_control_id)"
        )
    claim = claim_of(payload, decode_state(body.get("client_state")))
    own: CallKey = (PROVIDER, session) if session else legs[0]
    call = claim.call or own
    scene = Scene(
        provider=PROVIDER,
        call_id=call[1],
        leg_id=ident(body, *_LEG_IDS),
        key=("event", event_id),
        claim=claim,
        received_at=payload.received_at,
        occurred_at=moment(data.get("occurred_at")),
        provider_event_id=event_id,
        provider_type=name,
    )
    return Perception(
        events=_events(scene, name, body, payload),
        call=call,
        ids=tuple(key for key in dict.fromkeys((*legs, own)) if key != call),
        call_spans_legs=session is not None and call == own and bool(legs),
        claim=claim,
    )


def _events(scene: Scene, name: str, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    if name in _MAPPERS:
        return _MAPPERS[name](scene, body, payload)
    plain = _PLAIN.get(name, _Plain(CallEventType.UNKNOWN, explained_by=("status", "reason", "result")))
    explained = detail(*((field, string(body, field)) for field in plain.explained_by))
    return (scene.event(plain.type, speaker=plain.speaker, detail=explained),)


def _hangup(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    cause, source, sip = (string(body, name) for name in ("hangup_cause", "hangup_source", "sip_hangup_cause"))
    explained = detail(("hangup_cause", cause), ("hangup_source", source), ("sip_hangup_cause", sip))
    started, ended = moment(body.get("start_time")), moment(body.get("end_time")) or scene.occurred_at
    length = (ended - started) // 1000 if started is not None and ended is not None and ended >= started else None
    if cause == "time_limit":
        type, mapped = CallEventType.CALL_TIMEOUT, None
    elif cause == "unspecified" and source in ("", "unknown") and (whole(sip) or 0) < 400:
        # Nobody hung up, and no SIP error says that the call was refused: the line was lost.
        type, mapped = CallEventType.CALL_DROPPED, None
    elif cause == "unspecified":
        type, mapped = (
            CallEventType.CALL_ENDED,
            CallEndCause.FAILED if (whole(sip) or 0) >= 400 else CallEndCause.UNKNOWN,
        )
    else:
        type, mapped = CallEventType.CALL_ENDED, _CAUSES.get(cause, CallEndCause.UNKNOWN)
    return (scene.event(type, cause=mapped, duration_ms=length, detail=explained),)


def _machine(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    result = string(body, "result").strip()
    return (_detected(scene, _ANSWERED_BY.get(result, AnsweredBy.UNKNOWN), result),)


def _greeting(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    # Only machines have a greeting that ends: `not_sure` is about the end, not about the machine.
    return (_detected(scene, AnsweredBy.MACHINE, string(body, "result").strip()),)


def _detected(scene: Scene, answered_by: AnsweredBy, result: str) -> Event:
    return scene.event(
        CallEventType.MACHINE_DETECTED,
        answered_by=answered_by,
        confidence_kind=ConfidenceKind.AMD,
        detail=detail(("result", result)),
    )


def _dtmf(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    return (scene.event(CallEventType.DTMF, digits=string(body, "digit")[:64] or None),)


def _refer_completed(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    answer = whole(body.get("sip_notify_response"))
    failed = answer is not None and answer >= 300
    type = CallEventType.TRANSFER_FAILED if failed else CallEventType.TRANSFER_COMPLETED
    return (scene.event(type, detail=detail(("sip_notify_response", string(body, "sip_notify_response")))),)


def _transcription(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    data = child(body, "transcription_data")
    text = transcript(data.get("transcript"), "transcription_data.transcript")
    if not text:
        return ()
    final = flag(data.get("is_final"))
    said = _TRACKS.get(string(data, "transcription_track")) or track_of(payload)
    track = said or Track.UNKNOWN
    # Most engines name no track; Telnyx transcribes the inbound one unless told otherwise.
    speaker = Speaker.LEAD if said is None else SPEAKER_ON[track]
    place = (scene.leg_id or scene.call_id, track)
    return (
        scene.segment(
            SegmentStatus.FINAL if final else SegmentStatus.INTERIM,
            text,
            segment=(*place, *scene.key) if final else (*place, "partial"),
            track=track,
            speaker=speaker,
            confidence=unit(data.get("confidence")),
            confidence_kind=ConfidenceKind.ASR,
        ),
    )


_MAPPERS: Mapping[str, Mapper] = {
    "call.hangup": _hangup,
    "call.machine.detection.ended": _machine,
    "call.machine.premium.detection.ended": _machine,
    "call.machine.greeting.ended": _greeting,
    "call.machine.premium.greeting.ended": _greeting,
    "call.dtmf.received": _dtmf,
    "call.refer.completed": _refer_completed,
    "call.transcription": _transcription,
}
