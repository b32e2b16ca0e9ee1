"""A lead's row: how it begins, what bounds its size, and when it next wants to be looked at.

Bounds are all here. What they drop is detail: facts, refusals, open cases, grants in force and waiting requests
are never dropped.
"""

import msgspec

from schemas.records import Conversation, LeadId, LeadState, Segment, TimeUs

SECOND = 1_000_000
MANAGED = ("refused.",)
"""Facts whose end another part of the row brings about."""

MAX_CONVERSATIONS = 8
MAX_SEGMENTS = 64
MAX_SEGMENT_TEXT = 240
MAX_ATTEMPTS = 32
MAX_JUDGED = 64
MAX_SIGNALS = 16
MAX_DEFERRALS = 12
MAX_GRANTS = 24
MAX_WAITING_BYTES = 1_500
"""A request that waits is kept whole; a larger one is answered at once or not at all."""
MAX_OVERRIDES = 8
MAX_SUBJECTS = 12
"""Objections told apart; further ones are kept under one name."""
MAX_CONSENTS = 32
MAX_LEGS = 8
MAX_SCOPES = 4
MAX_SEEN = 128
"""A producer's repeat is recognised while fewer than this many other events of the lead came between."""


def new_lead(lead_id: LeadId) -> LeadState:
    """The row of a lead that nothing is known about."""
    return LeadState(lead_id=lead_id, version=0, applied_offset=-1, now=0, epoch=0, floor=None)


def live_conversation(state: LeadState) -> Conversation | None:
    """The conversation that has not ended; the call that goes on when there are several, else the latest."""
    live = state.facts.get("conversation.live")
    open_ones = [c for c in state.conversations if c.ended_at is None]
    return next(
        (c for c in open_ones if live and c.conversation_id == live.value), open_ones[-1] if open_ones else None
    )


def next_due(state: LeadState, call_timeout_s: int) -> TimeUs | None:
    """Journal time at which a timer of this lead is due; None when it has none."""
    due = [permission.expires_at for permission in state.permissions]
    for deferral in state.deferrals:
        due.append(deferral.deadline if deferral.not_before is None else min(deferral.not_before, deferral.deadline))
    due += [case.deadline for case in state.cases if case.status != "EXPIRED"]
    due += [refusal.until for refusal in state.refusals if refusal.until is not None]
    due += [refusal.since for refusal in state.refusals if refusal.since is not None]
    due += [override.until for override in state.overrides]
    due += [f.until for n, f in state.facts.items() if f.until is not None and not n.startswith(MANAGED)]
    if state.floor is not None:
        due.append(state.floor.until)
    due += [c.last_activity_at + call_timeout_s * SECOND for c in state.conversations if c.ended_at is None]
    return min(due, default=None)


def bounded(state: LeadState) -> LeadState:
    """The row with old detail dropped."""
    changes: dict[str, object] = {}
    if len(state.conversations) > MAX_CONVERSATIONS:
        kept, dropped = _split_conversations(state.conversations)
        changes["conversations"] = kept
        endings = tuple(f"/{conversation.conversation_id}" for conversation in dropped)
        changes["facts"] = {name: fact for name, fact in state.facts.items() if not name.endswith(endings)}
    if len(state.segments) > MAX_SEGMENTS:
        changes["segments"] = _bounded_segments(state)
    for name, limit in (
        ("attempts", MAX_ATTEMPTS),
        ("judged", MAX_JUDGED),
        ("seen", MAX_SEEN),
        ("signals", MAX_SIGNALS),
    ):
        items = getattr(state, name)
        if len(items) > limit:
            changes[name] = items[-limit:]
    return msgspec.structs.replace(state, **changes) if changes else state


def _split_conversations(
    conversations: tuple[Conversation, ...],
) -> tuple[tuple[Conversation, ...], tuple[Conversation, ...]]:
    excess = len(conversations) - MAX_CONVERSATIONS
    ended = [c for c in conversations if c.ended_at is not None][:excess]
    return tuple(c for c in conversations if c not in ended), tuple(ended)


def _bounded_segments(state: LeadState) -> tuple[Segment, ...]:
    """Newest segments, and of the older ones those that a fact rests on."""
    rested_on = {segment for fact in state.facts.values() for segment in fact.evidence}
    free = [s for s in state.segments if s.segment_id not in rested_on]
    excess = {s.segment_id for s in free[: len(state.segments) - MAX_SEGMENTS]}
    return tuple(s for s in state.segments if s.segment_id not in excess)
