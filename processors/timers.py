"""What time alone does to a lead: ends leases, grants, refusals, cases, silent calls and defers."""

from processors import escalation, grants, intents, overrides, refusals, requests
from processors.conversation import end_conversation, release_floor
from processors.draft import Draft
from processors.law import Law
from processors.lead import MANAGED, Timeouts
from schemas.records import ConversationId, PermissionStatus

DEFAULT_TIMEOUTS = Timeouts(call_s=900, thread_s=604_800)


def timeouts_of(law: Law | None) -> Timeouts:
    """How long conversations last without any event."""
    if law is None:
        return DEFAULT_TIMEOUTS
    return Timeouts(law.bundle.limits.call_timeout_s, law.bundle.limits.thread_timeout_s)


def fire(draft: Draft) -> None:
    """Fires every timer that is due at the draft's time."""
    now, timeouts = draft.now, timeouts_of(draft.law)
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
        if conversation.ended_at is None and timeouts.ends_at(conversation) <= now:
            end_conversation(draft, conversation, "timeout")
    requests.judge_due(draft)


def _lapse_facts(draft: Draft) -> None:
    """Facts that end by themselves. What is still missing of a provider's sequence is given up."""
    due = [n for n, f in draft.facts.items() if f.until is not None and f.until <= draft.now]
    for name in sorted(due):
        if name.startswith("conversation.gap/"):
            draft.set_fact("conversation.gap", "lost", conversation_id=ConversationId(name.partition("/")[2]))
        elif name.startswith("intent."):
            intents.lapse(draft, name)
        elif not name.startswith(MANAGED):
            draft.drop_fact(name)
