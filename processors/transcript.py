"""Transcript: what was said for certain, what was taken back, and the words that count by themselves.

Interim text changes nothing. Final text is kept, makes signals final, and is searched for opt-outs and for wishes
to speak to a person. A correction or withdrawal takes away what rested on the old words.
"""

import msgspec

from processors import dialogue, signals
from processors.draft import Draft
from processors.law import Law, words
from processors.lead import MAX_SEGMENT_TEXT
from schemas.records import (
    AnsweredBy,
    ConfidenceKind,
    ConversationId,
    DirectiveType,
    ReasonCode,
    Segment,
    SegmentStatus,
    SignalType,
    Speaker,
    TranscriptSegment,
)

SETTLED = (SegmentStatus.FINAL, SegmentStatus.CORRECTED)
"""Statuses of a segment whose words are final."""


_OPT_OUT_WITHOUT_POLICY = frozenset(
    {" stop ", " quit ", " end ", " revoke ", " opt out ", " cancel ", " unsubscribe "}
)  # fmt: skip
"""The words of 47 CFR 64.1200(a)(10): they count also before any policy says so."""


def on_segment(draft: Draft, event: TranscriptSegment) -> None:
    """Folds one transcript event."""
    if event.status in (SegmentStatus.INTERIM, SegmentStatus.UNKNOWN):
        return
    known = next((s for s in draft.get("segments") if s.segment_id == event.segment_id), None)
    if event.status is SegmentStatus.WITHDRAWN:
        _withdraw(draft, event, known)
        return
    segment = _segment(draft, event)
    _keep_alive(draft, segment.conversation_id)
    if known is None:
        heard(draft, segment)
        _reached(draft, segment)
    elif known.text != segment.text or known.status is SegmentStatus.WITHDRAWN:
        # Final text that differs from what was final is a correction, whatever it is called.
        _replace(draft, msgspec.structs.replace(segment, status=SegmentStatus.CORRECTED))
        signals.evidence_changed(draft, event.segment_id, "indicated")
        _listen(draft, segment)


def _keep_alive(draft: Draft, conversation_id: ConversationId) -> None:
    """A call in which somebody speaks is not silent, even where the platform sends nothing else."""
    conversation = draft.conversation(conversation_id)
    if conversation is not None and conversation.ended_at is None:
        draft.update_conversation(conversation_id, last_activity_at=draft.now)


def _segment(draft: Draft, event: TranscriptSegment) -> Segment:
    return Segment(
        segment_id=event.segment_id,
        conversation_id=ConversationId(event.conversation_id or f"{event.provider}:{event.call_id}"),
        status=event.status, text=event.text, confidence=_asr_confidence(event), speaker=event.speaker,
        offset=draft.position.offset, at=draft.now,
    )  # fmt: skip


def _asr_confidence(event: TranscriptSegment) -> float | None:
    """How sure the recogniser was of the words; figures of another kind say nothing about that."""
    return event.confidence if event.confidence_kind in (ConfidenceKind.ASR, ConfidenceKind.NONE) else None


def heard(draft: Draft, segment: Segment) -> None:
    """Final words, heard for the first time."""
    draft.add("segments", _cut(segment))
    _listen(draft, segment)
    signals.evidence_settled(draft, segment.segment_id)


def _listen(draft: Draft, segment: Segment) -> None:
    """Words that count without any agent's help. Low confidence does not matter: they only restrain."""
    if draft.law is None:
        if segment.speaker is Speaker.LEAD and words(segment.text) in _OPT_OUT_WITHOUT_POLICY:
            signals.opt_out(draft, "buyer", (segment.segment_id,))
        return
    if segment.speaker is Speaker.AGENT:
        _listen_to_agent(draft, segment, draft.law)
    if segment.speaker in (Speaker.AGENT, Speaker.HUMAN):
        return  # Where the recogniser can't tell who spoke, it may have been the lead: such words restrain.
    if draft.law.is_opt_out(segment.text):
        signals.opt_out(draft, "buyer", (segment.segment_id,))
    if draft.law.asks_for_human(segment.text):
        signals.restrain(draft, SignalType.ASKS_FOR_HUMAN, "", segment.conversation_id, (segment.segment_id,))
    if draft.law.calls_a_halt(segment.text):
        _halt(draft, segment)


def _halt(draft: Draft, segment: Segment) -> None:
    """The buyer calls a halt: nothing is executed in this conversation until a person has looked."""
    conversation_id, evidence = segment.conversation_id, (segment.segment_id,)
    draft.set_fact("execution.locked", "stop_phrase", conversation_id=conversation_id, evidence=evidence)
    draft.set_fact("conversation.stop_phrase", "yes", conversation_id=conversation_id, evidence=evidence)
    draft.direct(
        DirectiveType.HOLD, ReasonCode.STOP_PHRASE, "The lead called a halt: stop what you are doing.",
        conversation_id=conversation_id,
    )  # fmt: skip


def _listen_to_agent(draft: Draft, segment: Segment, law: Law) -> None:
    """An agent's own words: obligations that they meet, wording that its speech mode bars."""
    conversation_id = segment.conversation_id
    for obligation in law.confirmed_obligations(segment.text):
        dialogue.obligation_heard(draft, obligation, conversation_id, segment.segment_id)
    barred = law.barred_wording(segment.text, dialogue.speech_mode_of(draft, conversation_id))
    if barred is not None:
        conversation = draft.conversation(conversation_id)
        draft.set_fact(
            "conversation.wording", barred, conversation_id=conversation_id, evidence=(segment.segment_id,)
        )  # fmt: skip
        draft.direct(
            DirectiveType.HOLD, ReasonCode.WORDING_NOT_ALLOWED, f"Wording of the class {barred!r} is barred here.",
            conversation_id=conversation_id, agent_id=conversation.agent_id if conversation else None,
        )  # fmt: skip


def _reached(draft: Draft, segment: Segment) -> None:
    """The person was reached when they spoke in an answered call that no machine answered."""
    conversation_id = segment.conversation_id
    if segment.speaker is not Speaker.LEAD or draft.value("conversation.phase", conversation_id) != "answered":
        return
    if draft.value("conversation.answered_by", conversation_id) in (AnsweredBy.MACHINE, AnsweredBy.FAX):
        return
    if not draft.value("contact.reached"):
        draft.set_fact("contact.reached", "yes", evidence=(segment.segment_id,))


def _withdraw(draft: Draft, event: TranscriptSegment, known: Segment | None) -> None:
    if known is None:
        # Withdrawn before it was heard: kept, so that a late final of the same segment counts as a correction.
        draft.add("segments", msgspec.structs.replace(_segment(draft, event), status=SegmentStatus.WITHDRAWN, text=""))
        return
    _replace(draft, msgspec.structs.replace(known, status=SegmentStatus.WITHDRAWN, text=""))
    signals.evidence_changed(draft, event.segment_id, "withdrawn")


def _replace(draft: Draft, segment: Segment) -> None:
    cut = _cut(segment)
    draft.put("segments", tuple(cut if s.segment_id == cut.segment_id else s for s in draft.get("segments")))


def _cut(segment: Segment) -> Segment:
    if len(segment.text) <= MAX_SEGMENT_TEXT:
        return segment
    return msgspec.structs.replace(segment, text=segment.text[: MAX_SEGMENT_TEXT - 1] + "…")
