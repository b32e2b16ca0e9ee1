"""What time alone does to a lead: ends leases, grants, refusals, cases, silent calls and defers."""

from processors import escalation, grants, overrides, refusals, requests
from processors.conversation import end_conversation, release_floor
from processors.draft import Draft
from processors.lead import MANAGED, SECOND
from schemas.records import ConversationId, PermissionStatus

DEFAULT_CALL_TIMEOUT_S = 900


def call_timeout_s(draft: Draft) -> int:
    """Seconds without any event after which a call counts as ended."""
    return draft.law.bundle.limits.call_timeout_s if draft.law else DEFAULT_CALL_TIMEOUT_S


def fire(draft: Draft) -> None:
    """Fires every timer that is due at the draft's time."""
    now = draft.now
    for permission in draft.get("permissions"):
        if permission.expires_at <= now:
            expired = permission.status is PermissionStatus.GRANTED
            grants.end(draft, permission, PermissionStatus.EXPIRED if expired else None)
    floor = draft.get("floor")
    if floor is not None and floor.until <= now:
        release_floor(draft)
    refusals.pass_time(draft)
    overrides.pass_time(draft)
    _lapse_facts(draft)
    escalation.expire_due(draft)
    for conversation in draft.get("conversations"):
        if conversation.ended_at is None and conversation.last_activity_at + call_timeout_s(draft) * SECOND <= now:
            end_conversation(draft, conversation, "timeout")
    requests.judge_due(draft)


def _lapse_facts(draft: Draft) -> None:
    """Facts that end by themselves. What is still missing of a provider's sequence is given up."""
    due = [n for n, f in draft.facts.items() if f.until is not None and f.until <= draft.now]
    for name in sorted(due):
        if name.startswith("conversation.gap/"):
            draft.set_fact("conversation.gap", "lost", conversation_id=ConversationId(name.partition("/")[2]))
        elif not name.startswith(MANAGED):
            draft.drop_fact(name)
