"""What each kind of check in a policy bundle means: one small function a kind.

A check looks at a hearing and answers None when it holds, or a `Failure`: its own code where it knows better than
the rule, and what may cure it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from processors import timing
from processors.hearing import Hearing
from processors.lead import SECOND
from processors.policy import (
    FactAbsent,
    FactCondition,
    FactIn,
    FactNotIn,
    FactPresent,
    IntentConfirmed,
    WithinAuthority,
)
from schemas.records import ReasonCode, TimeUs, Verdict


class Failure(NamedTuple):
    """Why a check does not hold. None in a field means: as the rule says."""

    code: ReasonCode | None = None
    verdict: Verdict | None = None
    not_before: TimeUs | None = None


FAILED = Failure()


def fact_in(hearing: Hearing, check: FactIn) -> Failure | None:
    fact = hearing.read(check.fact)
    if fact is None or fact.value not in check.values:
        return FAILED
    return Failure(code=ReasonCode.INTERIM_ONLY) if check.final and not fact.final else None


def fact_not_in(hearing: Hearing, check: FactNotIn) -> Failure | None:
    return FAILED if hearing.value(check.fact) in check.values else None


def fact_absent(hearing: Hearing, check: FactAbsent) -> Failure | None:
    return FAILED if hearing.read(check.fact) else None


def fact_present(hearing: Hearing, check: FactPresent) -> Failure | None:
    return None if hearing.read(check.fact) else FAILED


def intent_confirmed(hearing: Hearing, check: IntentConfirmed) -> Failure | None:
    fact = hearing.read(f"intent.{check.intent}")
    if fact is None or fact.value in ("withdrawn", "paused"):
        return FAILED
    if fact.value == "confirmed" and fact.final:
        return None
    needed = hearing.law.intent_threshold(check.intent).min_confidence
    is_low = fact.confidence is not None and fact.confidence < needed
    return Failure(code=ReasonCode.LOW_CONFIDENCE if is_low else ReasonCode.INTERIM_ONLY)


def action_in_role(hearing: Hearing, _: object) -> Failure | None:
    return None if hearing.request.action in hearing.role.actions else FAILED


def channel_in_role(hearing: Hearing, _: object) -> Failure | None:
    return None if hearing.request.channel in hearing.role.channels else FAILED


def tool_in_role(hearing: Hearing, _: object) -> Failure | None:
    tool = hearing.request.tool
    return None if tool is None or tool in hearing.role.tools else FAILED


def fields_in_role(hearing: Hearing, _: object) -> Failure | None:
    fields = hearing.request.crm_fields
    if not fields:
        return Failure(code=ReasonCode.PARAMETER_INVALID)
    return None if set(fields) <= set(hearing.role.crm_fields) else FAILED


def within_authority(hearing: Hearing, check: WithinAuthority) -> Failure | None:
    amount = hearing.request.parameters.get(check.parameter)
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
        return Failure(code=ReasonCode.PARAMETER_INVALID)
    limit: int = getattr(hearing.role, check.limit)
    return None if amount <= limit else FAILED


def stage_reached(hearing: Hearing, _: object) -> Failure | None:
    ranks = hearing.law.stage_rank
    needed = ranks[hearing.action.stage]
    if needed == 0:
        return None
    reached = ranks.get(hearing.value("stage"), 0)
    for stage in hearing.law.bundle.stages[reached + 1 : needed + 1]:
        _read_conditions(hearing, stage.earned_by)
    return None if reached >= needed else FAILED


def _read_conditions(hearing: Hearing, conditions: tuple[FactCondition, ...]) -> None:
    # What is still missing belongs to the explanation, and its change has the request judged again.
    for condition in conditions:
        hearing.read(condition.fact)


def conversation_live(hearing: Hearing, _: object) -> Failure | None:
    if not hearing.action.in_conversation:
        return None
    return None if hearing.value("conversation.phase") == "answered" else FAILED


def calling_hours(hearing: Hearing, _: object) -> Failure | None:
    contact = hearing.law.bundle.contact
    zones = [timing.zone(name) for name in hearing.value("lead.time_zones").split(",") if name]
    rules = timing.rules_of(contact, hearing.value("lead.jurisdictions").split(","))
    known = [place for place in zones if place is not None]
    if not known or len(known) < len(zones):
        return Failure(code=ReasonCode.MISSING_FACT)
    opens = timing.next_allowed(hearing.now, known, rules)
    if opens == hearing.now:
        return None
    return Failure(not_before=opens) if opens else Failure(verdict=Verdict.BLOCK)


def attempts(hearing: Hearing, _: object) -> Failure | None:
    contact = hearing.law.bundle.contact
    hearing.read("contact.attempts")
    rules = timing.rules_of(contact, hearing.value("lead.jurisdictions").split(","))
    calls = [a for a in hearing.attempts if a.channel == hearing.request.channel]
    allowed = timing.attempt_allowed_at(hearing.now, calls, rules, contact.min_gap_s)
    if allowed == hearing.now:
        return None
    gap_only = timing.attempt_allowed_at(hearing.now, calls, (), contact.min_gap_s) == allowed
    return Failure(code=ReasonCode.MIN_GAP if gap_only else None, not_before=allowed)


def floor_free(hearing: Hearing, _: object) -> Failure | None:
    if not hearing.action.takes_floor:
        return None
    return None if hearing.value("floor") in ("", hearing.request.agent_id) else FAILED


def effect_free(hearing: Hearing, _: object) -> Failure | None:
    holder = hearing.value(f"pending.{hearing.action.effect}")
    if not holder or (holder == hearing.request.agent_id and not hearing.action.irreversible):
        return None
    return FAILED


def effect_not_refused(hearing: Hearing, _: object) -> Failure | None:
    return FAILED if hearing.value(f"refused.{hearing.action.effect}") else None


def not_suspended(hearing: Hearing, _: object) -> Failure | None:
    return FAILED if hearing.value(f"suspended.{hearing.request.action}") else None


def consent(hearing: Hearing, _: object) -> Failure | None:
    contact = hearing.law.bundle.contact
    channel = hearing.request.channel
    if channel not in contact.consent:
        return None
    given = hearing.value(f"consent.{channel.lower()}.{contact.consent_purpose}")
    return None if given in contact.consent[channel] else FAILED


def in_time(hearing: Hearing, _: object) -> Failure | None:
    # Age counts to the moment a request was first heard: waiting in a defer doesn't make it late.
    oldest = hearing.first_heard_at - hearing.law.bundle.limits.request_max_age_s * SECOND
    deadline = hearing.request.deadline
    late = hearing.request.requested_at < oldest or (deadline is not None and deadline < hearing.now)
    return FAILED if late else None


CHECKS: dict[str, Callable[[Hearing, Any], Failure | None]] = {
    check.__name__: check
    for check in (
        fact_in, fact_not_in, fact_absent, fact_present, intent_confirmed, action_in_role, channel_in_role,
        tool_in_role, fields_in_role, within_authority, stage_reached, conversation_live, calling_hours, attempts,
        floor_free, effect_free, effect_not_refused, not_suspended, consent, in_time,
    )
}  # fmt: skip
"""Every kind of check by its name in a bundle."""
