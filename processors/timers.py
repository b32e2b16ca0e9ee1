"""What time alone does to a lead: ends leases, grants, refusals, cases, silent calls and defers."""

from processors import escalation, grants, requests
from processors.conversation import end_conversation, release_floor
from processors.draft import Draft
from processors.lead import SECOND
from schemas.records import PermissionStatus

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
    _lapse_refusals(draft)
    escalation.expire_due(draft)
    for conversation in draft.get("conversations"):
        if conversation.ended_at is None and conversation.last_activity_at + call_timeout_s(draft) * SECOND <= now:
            end_conversation(draft, conversation, "timeout")
    requests.judge_due(draft)


def _lapse_refusals(draft: Draft) -> None:
    lapsed = [r for r in draft.get("refusals") if r.until is not None and r.until <= draft.now]
    if not lapsed:
        return
    kept = tuple(r for r in draft.get("refusals") if r not in lapsed)
    draft.put("refusals", kept)
    for effect in sorted({refusal.effect for refusal in lapsed} - {refusal.effect for refusal in kept}):
        draft.drop_fact(f"refused.{effect}")
