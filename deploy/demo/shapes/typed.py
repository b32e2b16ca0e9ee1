"""A platform that speaks the contract itself: canonical events, typed, keyed by lead."""

from deploy.demo import emission
from deploy.demo.emission import Emission
from deploy.demo.shapes.moments import Happens, Line, Moment
from processors.ids import derive
from schemas.records import (
    CallEvent,
    CallEventType,
    ConfidenceKind,
    ConversationId,
    SegmentStatus,
    Speaker,
    Track,
    TranscriptSegment,
)

PROVIDER = "northwind-voice"
"""The platform's own name for itself."""

_TYPES = {
    Happens.INITIATED: CallEventType.CALL_INITIATED,
    Happens.RINGING: CallEventType.CALL_RINGING,
    Happens.ANSWERED: CallEventType.CALL_ANSWERED,
    Happens.MACHINE: CallEventType.MACHINE_DETECTED,
    Happens.SPEECH_STARTED: CallEventType.SPEECH_STARTED,
    Happens.SPEECH_STOPPED: CallEventType.SPEECH_STOPPED,
    Happens.BARGE_IN: CallEventType.BARGE_IN,
    Happens.SILENCE: CallEventType.SILENCE,
    Happens.TRANSFER_STARTED: CallEventType.TRANSFER_STARTED,
    Happens.TRANSFER_COMPLETED: CallEventType.TRANSFER_COMPLETED,
    Happens.DROPPED: CallEventType.CALL_DROPPED,
    Happens.TIMEOUT: CallEventType.CALL_TIMEOUT,
    Happens.ENDED: CallEventType.CALL_ENDED,
}
_STATUSES = {Happens.INTERIM: SegmentStatus.INTERIM, Happens.FINAL: SegmentStatus.FINAL}
_TRACKS = {Speaker.LEAD: Track.INBOUND, Speaker.AGENT: Track.OUTBOUND}
_SPEECH = (Happens.SPEECH_STARTED, Happens.SPEECH_STOPPED)


def call_id(line: Line) -> str:
    """The platform's id of the call."""
    return f"call-{line.hex('call')[:16]}"


def voice(line: Line, moment: Moment) -> list[Emission]:
    """Call events, those of turns left to `ears`."""
    if moment.what in _SPEECH or moment.what not in _TYPES:
        return []
    return [_event(line, moment)]


def ears(line: Line, moment: Moment) -> list[Emission]:
    """Turns and transcript."""
    if moment.what in _SPEECH:
        return [_event(line, moment)]
    return [_segment(line, moment)] if moment.what in _STATUSES else []


def _event(line: Line, moment: Moment) -> Emission:
    number = line.count("events")
    machine, ended = moment.what is Happens.MACHINE, moment.what is Happens.ENDED
    return emission.typed(
        CallEvent(
            event_id=derive(PROVIDER, call_id(line), number),
            lead_id=line.lead_id,
            conversation_id=ConversationId(f"{PROVIDER}:{call_id(line)}"),
            provider=PROVIDER,
            provider_event_id=f"{call_id(line)}/{number}",
            provider_type=moment.what.lower(),
            call_id=call_id(line),
            type=_TYPES[moment.what],
            speaker=moment.speaker,
            answered_by=moment.answered_by if machine else None,
            cause=moment.cause if ended else None,
            duration_ms=moment.ms or None,
            confidence=moment.confidence if machine else None,
            confidence_kind=ConfidenceKind.AMD if machine and moment.confidence is not None else ConfidenceKind.NONE,
            sequence=number,
            sequence_scope=call_id(line),
            occurred_at=moment.at,
            received_at=moment.arrives_at,
        ),
        moment.arrives_at,
    )


def _segment(line: Line, moment: Moment) -> Emission:
    number = line.count("segments")
    has_figure = moment.what is Happens.FINAL and moment.confidence is not None
    return emission.typed(
        TranscriptSegment(
            event_id=derive(PROVIDER, call_id(line), "segment", number),
            lead_id=line.lead_id,
            conversation_id=ConversationId(f"{PROVIDER}:{call_id(line)}"),
            provider=PROVIDER,
            provider_type="transcript",
            call_id=call_id(line),
            segment_id=f"{call_id(line)}/utterance-{moment.utterance}",
            status=_STATUSES[moment.what],
            text=moment.text,
            speaker=moment.speaker,
            track=_TRACKS.get(moment.speaker, Track.UNKNOWN),
            language="en-US",
            sequence=number,
            sequence_scope=f"{call_id(line)}/segments",
            confidence=moment.confidence if has_figure else None,
            confidence_kind=ConfidenceKind.ASR if has_figure else ConfidenceKind.NONE,
            occurred_at=moment.at,
            received_at=moment.arrives_at,
        ),
        moment.arrives_at,
    )
