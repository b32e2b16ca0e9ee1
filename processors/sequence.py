"""A provider's own numbering of its events: what was overtaken, what is missing.

A number that is skipped opens a gap, which is awaited for the policy's window (`conversation.gap` is `open`) and then
given up (`lost`). An event with a lower number than one that was applied is overtaken.
"""

from processors.draft import Draft
from processors.lead import MAX_SCOPES, SECOND
from schemas.records import CallEvent, ConversationId

_MISSING = "?"
"""Marks the count of missing events of a scope, beside the scope's last number."""


def follow(draft: Draft, event: CallEvent, conversation_id: ConversationId) -> bool:
    """Notes an event's number; True when a later one was applied before it."""
    conversation = draft.conversation(conversation_id)
    if event.sequence is None or conversation is None:
        return False
    scope = event.sequence_scope or ""
    sequences = dict(conversation.sequences)
    last = sequences.get(scope)
    if last is None:
        if len(sequences) < MAX_SCOPES:
            sequences[scope] = event.sequence
            draft.update_conversation(conversation_id, sequences=sequences)
        return False
    is_overtaken = event.sequence < last
    missing = sequences.get(scope + _MISSING, 0)
    sequences[scope] = max(last, event.sequence)
    sequences[scope + _MISSING] = max(0, missing - 1) if is_overtaken else missing + max(0, event.sequence - last - 1)
    draft.update_conversation(conversation_id, sequences=sequences)
    _show(draft, conversation_id, sequences, opened=event.sequence > last + 1)
    return is_overtaken


def _show(draft: Draft, conversation_id: ConversationId, sequences: dict[str, int], *, opened: bool) -> None:
    if opened and draft.law is not None:
        until = draft.now + draft.law.bundle.limits.reorder_window_s * SECOND
        draft.set_fact("conversation.gap", "open", conversation_id=conversation_id, until=until)
    elif not any(count for scope, count in sequences.items() if scope.endswith(_MISSING)):
        draft.drop_fact("conversation.gap", conversation_id)
