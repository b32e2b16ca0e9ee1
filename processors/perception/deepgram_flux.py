"""Deepgram Flux (listen v2): turns, and an end of turn that may be taken back.

An eager end of turn has a segment of its own, so that `TurnResumed` can withdraw it without touching the turn; the
turn's own segment becomes final with `EndOfTurn` alone.
"""

from dataclasses import replace

from processors.perception.claims import track_of
from processors.perception.fields import children, repeat_key, string, transcript, unit, whole
from processors.perception.payload import Event, JsonObject, Payload, PayloadError
from processors.perception.scene import SPEAKER_ON, Scene
from schemas.records import CallEventType, ConfidenceKind, SegmentStatus, Speaker, Track


def perceive(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    """Events of one TurnInfo message."""
    name, turn, sequence = string(body, "event"), string(body, "turn_index"), whole(body.get("sequence_id"))
    if not name or not turn:
        raise PayloadError("Deepgram TurnInfo: expected event, turn_index and transcript")
    request = scene.key[0]
    at = replace(
        scene,
        key=(request, "turn", turn, name, str(sequence) if sequence is not None else repeat_key(payload)),
        provider_type=name,
        sequence=sequence,
        sequence_scope=f"deepgram:{request}"[:200],
    )
    told = track_of(payload)
    speaker = Speaker.LEAD if told is None else SPEAKER_ON[told]
    stretch = _Stretch(at, body, (request, "turn", turn), told or Track.UNKNOWN, speaker)
    ends = ConfidenceKind.END_OF_TURN
    sure = unit(body.get("end_of_turn_confidence"))
    if name == "Update":
        return stretch.heard(SegmentStatus.INTERIM)
    if name == "StartOfTurn":
        return (at.event(CallEventType.SPEECH_STARTED, speaker=speaker), *stretch.heard(SegmentStatus.INTERIM))
    if name == "EagerEndOfTurn":
        return stretch.eager(SegmentStatus.INTERIM, sure)
    if name == "TurnResumed":
        return stretch.withdrawn()
    if name == "EndOfTurn":
        stopped = at.event(CallEventType.SPEECH_STOPPED, speaker=speaker, confidence=sure, confidence_kind=ends)
        return (*stretch.heard(SegmentStatus.FINAL), stopped)
    return (at.event(CallEventType.UNKNOWN),)


class _Stretch:
    """The speech of one turn, as one message tells it."""

    def __init__(
        self, scene: Scene, body: JsonObject, segment: tuple[str, ...], track: Track, speaker: Speaker
    ) -> None:
        self._scene = scene
        self._body = body
        self._segment = segment
        self._track = track
        self._speaker = speaker

    def heard(self, status: SegmentStatus) -> tuple[Event, ...]:
        """The turn's own segment; none while nothing was understood. Confidence is the mean of its words'."""
        figures = [f for word in children(self._body, "words") if (f := unit(word.get("confidence"))) is not None]
        confidence = round(sum(figures) / len(figures), 6) if figures else None
        return self._told(status, self._segment, confidence, ConfidenceKind.ASR)

    def eager(self, status: SegmentStatus, confidence: float | None) -> tuple[Event, ...]:
        """What may turn out to be the whole turn."""
        return self._told(status, (*self._segment, "eager"), confidence, ConfidenceKind.END_OF_TURN)

    def withdrawn(self) -> tuple[Event, ...]:
        """The eager end was none; the turn goes on."""
        segment = self._scene.segment(
            SegmentStatus.WITHDRAWN,
            "",
            segment=(*self._segment, "eager"),
            track=self._track,
            speaker=self._speaker,
        )
        return (segment, *self.heard(SegmentStatus.INTERIM))

    def _told(
        self, status: SegmentStatus, segment: tuple[str, ...], confidence: float | None, kind: ConfidenceKind
    ) -> tuple[Event, ...]:
        text = transcript(self._body.get("transcript"), "TurnInfo.transcript")
        if not text:
            return ()
        languages = self._body.get("languages")
        language = languages[0] if isinstance(languages, list) and languages else None
        return (
            self._scene.segment(
                status,
                text,
                segment=segment,
                track=self._track,
                speaker=self._speaker,
                language=language if isinstance(language, str) else None,
                confidence=confidence,
                confidence_kind=kind,
            ),
        )
