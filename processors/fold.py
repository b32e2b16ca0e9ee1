"""The fold: `step(state, entry, ...) -> Change`. One journal entry, one lead, no I/O, no clock, no chance.

The order within an entry is fixed: timers that are due, the entry itself, then whatever follows from changed facts
until nothing changes any more: stage and speech mode, grants that fall, waiting requests judged again.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from processors import (
    bounding,
    conversation,
    crm,
    dialogue,
    escalation,
    grants,
    interventions,
    messages,
    outcomes,
    refusals,
    requests,
    signals,
    timers,
    transcript,
)
from processors.authority import Court
from processors.draft import Draft, Output
from processors.ids import short_digest
from processors.law import Law
from processors.lead import live_conversation, new_lead, next_due
from schemas.records import (
    ActiveGrant,
    AgentOutcome,
    EntryKind,
    ExecutionState,
    JournalEntry,
    LeadState,
    PermissionStatus,
    Position,
    SegmentStatus,
    SpeechMode,
    TimeUs,
    TranscriptSegment,
)

# Each round needs a fact changed by the one before; rules set facts in a few layers only.
MAX_ROUNDS = 32
VOLATILE = ("conversation.speaker/", "conversations/", "segments/", "signals/")
"""Facts that change with every turn: in transitions, not in the public view."""


class Change(NamedTuple):
    """A lead after an entry, and what goes out because of it. `state` is the same object when nothing changed."""

    state: LeadState
    outputs: tuple[Output, ...]


_HANDLERS: dict[EntryKind, Callable[[Draft, Any], None]] = {
    EntryKind.CALL: conversation.on_call_event,
    EntryKind.TRANSCRIPT: transcript.on_segment,
    EntryKind.MESSAGE: messages.on_message_event,
    EntryKind.SIGNAL: signals.on_signal,
    EntryKind.CRM: crm.on_crm_event,
    EntryKind.REQUEST: requests.hear,
    EntryKind.OUTCOME: outcomes.on_outcome,
    EntryKind.INTERVENTION: interventions.on_intervention,
}
"""What folds each kind of entry. POLICY and TICK concern the partition; a lead only sees a tick's time."""


def step(state: LeadState | None, entry: JournalEntry, position: Position, court: Court, law: Law | None) -> Change:
    """Folds one entry into its lead.

    state: the lead's row, None for a lead never seen. law: the policy in force at the entry. An entry at or below the
    row's applied offset gives nothing: its outputs were acknowledged before the row was written.
    """
    if state is None:
        state = new_lead(entry.lead_id)
    if position.offset <= state.applied_offset:
        return Change(state, ())
    draft = Draft(state, entry, position, court, law)
    due = due_at(state, law)
    if due is not None and due <= draft.now:
        timers.fire(draft)
        _settle(draft)
    if law is not None and state.facts and state.revision != law.revision:
        _follow_policy(draft)
    if _is_new(draft):
        handler = _HANDLERS.get(entry.kind)
        if handler is not None:
            handler(draft, entry.body)
            bounding.forget(draft)
    _settle(draft)
    return _finish(draft)


def _free_cut_off(draft: Draft) -> None:
    """The lead of an agent or role that the policy in force cuts off is free."""
    floor = draft.get("floor")
    if floor is None or draft.law is None or not draft.law.cuts_off:
        return
    cut = draft.law.bundle.cut_off
    if floor.agent_id in cut.agents or floor.role in cut.roles:
        conversation.release_floor(draft)


def due_at(state: LeadState, law: Law | None) -> TimeUs | None:
    """When the lead next wants a tick."""
    return next_due(state, timers.timeouts_of(law))


def _is_new(draft: Draft) -> bool:
    """False for a producer's repeat of an event, and for a report that its agent is not shown to have made.

    Requests know their own repeats; interim text leaves no mark.
    """
    entry = draft.entry
    if entry.kind in (EntryKind.REQUEST, EntryKind.TICK):
        return True
    if isinstance(entry.body, TranscriptSegment) and entry.body.status is SegmentStatus.INTERIM:
        return True
    if isinstance(entry.body, AgentOutcome) and outcomes.turned_away(draft, entry.body):
        return False  # and leaves no mark: the agent's own report under this id is still to come
    mark = short_digest(entry.kind, draft.cause_id)
    if mark in draft.get("seen"):
        return False
    draft.add("seen", mark)
    return True


def _follow_policy(draft: Draft) -> None:
    """Another policy came into force since the last entry: stage, modes and cut-offs are those of the new one."""
    dialogue.derive(draft)
    grants.revoke_cut_off(draft)
    _free_cut_off(draft)
    _settle(draft)


def _settle(draft: Draft) -> None:
    for _ in range(MAX_ROUNDS):
        if not draft.dirty:
            return
        dialogue.derive(draft)
        dirty = draft.take_dirty()
        escalation.open_for_facts(draft, dirty)
        refusals.lift_by_facts(draft, dirty)
        grants.revoke_changed(draft, dirty)
        requests.judge_again(draft, dirty)
    raise AssertionError(f"facts of lead {draft.base.lead_id} did not settle in {MAX_ROUNDS} rounds")


def _finish(draft: Draft) -> Change:
    state = draft.freeze()
    transitions = draft.transitions(state)
    draft.outputs += transitions
    if any(not output.value.fact.startswith(VOLATILE) for output in transitions):  # type: ignore[attr-defined]
        draft.outputs.append(_view(draft, state))
    return Change(state, tuple(draft.outputs))


def _view(draft: Draft, state: LeadState) -> Output:
    """The public view of the lead."""
    live = live_conversation(state)
    mode = draft.value("speech_mode", live.conversation_id) if live else ""
    active = [p for p in state.permissions if p.status is PermissionStatus.GRANTED]
    view = ExecutionState(
        lead_id=state.lead_id,
        stage=draft.value("stage") or (draft.law.bundle.stages[0].name if draft.law else ""),
        speech_mode=SpeechMode(mode) if mode else SpeechMode.SILENT,
        facts={name: state.facts[name].value for name in sorted(state.facts) if not name.startswith(VOLATILE)},
        grants=tuple(
            ActiveGrant(grant_id=p.grant_id, agent_id=p.agent_id, role=p.role, action=p.action, expires_at=p.expires_at)
            for p in active
        ),
        open_cases=tuple(case.case_id for case in state.cases),
        floor_agent=state.floor.agent_id if state.floor else None,
        version=state.version, position=draft.position, at=draft.now,
    )  # fmt: skip
    return Output(draft.derive("state"), state.lead_id, view)
