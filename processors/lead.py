"""A lead's row: how it begins, what bounds its size, and when it next wants to be looked at.

Bounds are all here. What they drop is detail: facts about the lead, refusals, open cases, grants in force and waiting
requests are never dropped; when there is no room for another one, it is refused.
"""

from typing import NamedTuple

import msgspec

from schemas.records import (
    Channel,
    Conversation,
    Judged,
    LeadId,
    LeadState,
    Permission,
    PermissionStatus,
    Segment,
    TimeUs,
)
from schemas.rows import encode_row

SECOND = 1_000_000
MANAGED = ("refused.",)
"""Facts whose end another part of the row brings about."""

MAX_ROW_BYTES = 52 * 1024
"""What a row may take when it is measured; 64 KiB is promised, and no few entries add what lies between."""
_MEASURED_EVERY = 4
"""Versions of a row from one measurement to the next: encoding it costs more than most entries do."""
CUT_ROW_BYTES = 44 * 1024
"""What is left of one that took more: then it is not cut again with every entry."""
OPEN_BYTES = 16 * 1024
"""What grants in force and waiting requests may take together; what comes on top is refused."""
MAX_CONVERSATIONS = 8
MAX_OPEN_CONVERSATIONS = 3
"""Conversations that go on at once; the one that was silent for longest ends when there are more."""
MAX_STRAY_CONVERSATIONS = 2
"""Conversations kept of which words or signals came and no call."""
CONVERSATION_BYTES = 16 * 1024
"""What conversations and their facts may take; those that ended go first."""
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
MAX_REASON = 240
"""Characters kept of what a person wrote; the journal has the whole."""
MAX_EVIDENCE = 8
EVIDENCE_BYTES = 512
"""Segments under one signal, and what their ids may take. A claim that rests on more confirms nothing."""
MAX_LIST_TEXT = 600
"""Characters of a fact that lists zones or jurisdictions."""
MAX_SUBJECTS = 12
"""Objections told apart; further ones are kept under one name."""
MAX_CONSENTS = 32
CONSENT_BYTES = 5 * 1024
"""What the names and proofs of consents may take."""
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


class Timeouts(NamedTuple):
    """Seconds without any event after which a conversation is over: a call, and a written one."""

    call_s: int
    thread_s: int

    def ends_at(self, conversation: Conversation) -> TimeUs:
        """Journal time at which a conversation is over if nothing more comes."""
        seconds = self.call_s if conversation.channel is Channel.VOICE else self.thread_s
        return conversation.last_activity_at + seconds * SECOND


def next_due(state: LeadState, timeouts: Timeouts) -> TimeUs | None:
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
    due += [timeouts.ends_at(c) for c in state.conversations if c.ended_at is None]
    return min(due, default=None)


def bounded(state: LeadState) -> LeadState:
    """The row with old detail dropped: so many items of each kind, and no more bytes than a row may take."""
    changes: dict[str, object] = {}
    for name, limit in (("attempts", MAX_ATTEMPTS), ("seen", MAX_SEEN), ("signals", MAX_SIGNALS)):
        items = getattr(state, name)
        if len(items) > limit:
            changes[name] = items[-limit:]
    if len(state.segments) > MAX_SEGMENTS:
        changes["segments"] = _newest_segments(state, MAX_SEGMENTS)
    if len(state.judged) > MAX_JUDGED:
        changes["judged"] = _newest_judged(state, MAX_JUDGED)
    if len(state.permissions) > MAX_GRANTS:
        changes["permissions"] = _newest_permissions(state, MAX_GRANTS)
    state = msgspec.structs.replace(state, **changes) if changes else state
    if state.version % _MEASURED_EVERY or len(encode_row(state)) <= MAX_ROW_BYTES:
        return state
    return _shed(state)


def _shed(state: LeadState) -> LeadState:
    """A row of very long ids and words: less of each kind of detail, step by step, until it fits."""
    for share in (2, 4, 8, 16):
        state = msgspec.structs.replace(
            state,
            permissions=_newest_permissions(state, MAX_GRANTS // share),
            signals=state.signals[-MAX_SIGNALS // share :],
            segments=_newest_segments(state, MAX_SEGMENTS // share, but_restraints=True),
            judged=_newest_judged(state, MAX_JUDGED // share),
            attempts=state.attempts[-max(8, MAX_ATTEMPTS // share) :],
        )
        if len(encode_row(state)) <= CUT_ROW_BYTES:
            return state
    return msgspec.structs.replace(
        state, segments=tuple(msgspec.structs.replace(s, text=s.text[:40]) for s in state.segments)
    )


def _newest_segments(state: LeadState, limit: int, *, but_restraints: bool = False) -> tuple[Segment, ...]:
    """Newest segments, and of the older ones those that a fact rests on: a restraint stands without its words too."""
    rested_on = {
        segment
        for name, fact in state.facts.items()
        if not but_restraints or fact.value in _FALLS_WITH_ITS_WORDS or name.startswith(("consent.", "contact."))
        for segment in fact.evidence
    }
    free = [s for s in state.segments if s.segment_id not in rested_on]
    excess = {s.segment_id for s in free[: max(0, len(state.segments) - limit)]}
    return tuple(s for s in state.segments if s.segment_id not in excess)


_FALLS_WITH_ITS_WORDS = ("indicated", "confirmed", "paused", "addressed", "resolved")


def _newest_judged(state: LeadState, limit: int) -> tuple[Judged, ...]:
    """Newest answers, and those of requests that still wait: a repeat of one must be recognised."""
    waiting = {deferral.request.request_id for deferral in state.deferrals}
    old = state.judged[:-limit]
    return (*(j for j in old if j.request_id in waiting), *state.judged[-limit:])


def _newest_permissions(state: LeadState, limit: int) -> tuple[Permission, ...]:
    """Grants in force, and the newest of those that ended."""
    ended = [p.grant_id for p in state.permissions if p.status is not PermissionStatus.GRANTED]
    excess = set(ended[: max(0, len(state.permissions) - limit)])
    return tuple(p for p in state.permissions if p.grant_id not in excess)
