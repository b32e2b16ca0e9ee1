"""The scene of a payload: what all its events have in common. Events are built here, and their ids derived."""

from dataclasses import dataclass

from processors.ids import derive
from processors.perception.fields import raw_name
from processors.perception.payload import Claim
from schemas.records import (
    AnsweredBy,
    CallEndCause,
    CallEvent,
    CallEventType,
    ConfidenceKind,
    SegmentStatus,
    Speaker,
    TimeUs,
    Track,
    TranscriptSegment,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Who sent the payload, about which call, when; and `key`, which the provider's repeats of it share."""

    provider: str
    call_id: str
    key: tuple[str, ...]
    claim: Claim
    received_at: TimeUs
    occurred_at: TimeUs | None = None
    leg_id: str | None = None
    provider_event_id: str | None = None
    provider_type: str = ""
    sequence: int | None = None
    sequence_scope: str | None = None

    def event(
        self,
        type: CallEventType,
        *,
        provider_type: str | None = None,
        key: tuple[str, ...] | None = None,
        speaker: Speaker = Speaker.UNKNOWN,
        answered_by: AnsweredBy | None = None,
        cause: CallEndCause | None = None,
        digits: str | None = None,
        duration_ms: int | None = None,
        confidence: float | None = None,
        confidence_kind: ConfidenceKind = ConfidenceKind.NONE,
        detail: str | None = None,
    ) -> CallEvent:
        """A call event. `key` and `provider_type` replace the scene's where one payload tells several things."""
        return CallEvent(
            event_id=derive(self.provider, *(key or self.key), type),
            lead_id=self.claim.lead_id,
            conversation_id=self.claim.conversation_id,
            provider=self.provider,
            provider_event_id=self.provider_event_id,
            provider_type=raw_name(self.provider_type if provider_type is None else provider_type),
            call_id=self.call_id,
            leg_id=self.leg_id,
            type=type,
            speaker=speaker,
            answered_by=answered_by,
            cause=cause,
            agent_id=self.claim.agent_id,
            digits=digits,
            duration_ms=duration_ms,
            sequence=self.sequence,
            sequence_scope=self.sequence_scope if self.sequence is not None else None,
            confidence=confidence,
            confidence_kind=confidence_kind,
            detail=detail,
            occurred_at=self.occurred_at,
            received_at=self.received_at,
        )

    def segment(
        self,
        status: SegmentStatus,
        text: str,
        *,
        segment: tuple[str, ...],
        track: Track,
        speaker: Speaker,
        language: str | None = None,
        confidence: float | None = None,
        confidence_kind: ConfidenceKind = ConfidenceKind.NONE,
    ) -> TranscriptSegment:
        """A transcript segment. `segment` is what all events about this stretch of speech share."""
        return TranscriptSegment(
            event_id=derive(self.provider, *self.key, status),
            lead_id=self.claim.lead_id,
            conversation_id=self.claim.conversation_id,
            provider=self.provider,
            provider_event_id=self.provider_event_id,
            provider_type=raw_name(self.provider_type),
            call_id=self.call_id,
            segment_id=derive(self.provider, *segment),
            status=status,
            text=text,
            speaker=speaker,
            track=track,
            language=raw_name(language) if language else None,
            sequence=self.sequence,
            sequence_scope=self.sequence_scope if self.sequence is not None else None,
            confidence=confidence,
            confidence_kind=ConfidenceKind.NONE if confidence is None else confidence_kind,
            occurred_at=self.occurred_at,
            received_at=self.received_at,
        )


SPEAKER_ON = {Track.INBOUND: Speaker.LEAD, Track.OUTBOUND: Speaker.AGENT, Track.UNKNOWN: Speaker.UNKNOWN}
"""Who is heard on a track of the lead's leg: providers name tracks from their own side of the line."""
