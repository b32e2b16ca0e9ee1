"""What each kind of check in a policy bundle means: one small function a kind.

A check looks at a hearing and answers None when it holds, or a `Failure`: its own code where it knows better than
the rule, and what may cure it. Checks of contact (hours, attempts, consent) stand in `processors.contact_checks`.
"""

from collections.abc import Callable
from typing import Any

from processors.contact_checks import attempts, calling_hours, consent, contactable, retries
from processors.hearing import FAILED, Failure, Hearing
from processors.lead import SECOND
from processors.policy import (
    AnsweredByCheck,
    FactAbsent,
    FactCondition,
    FactIn,
    FactNotIn,
    FactPresent,
    IntentConfirmed,
    ObligationMet,
    WithinAuthority,
)
from schemas.records import AnsweredBy, Channel, Fact, ReasonCode, SpeechMode


# --- checks of one fact and nothing else
def fact_in(fact: Fact | None, check: FactIn) -> Failure | None:
    if fact is None or fact.value not in check.values:
        return FAILED
    return Failure(code=ReasonCode.INTERIM_ONLY) if check.final and not fact.final else None


def fact_not_in(fact: Fact | None, check: FactNotIn) -> Failure | None:
    return FAILED if fact is not None and fact.value in check.values else None


def fact_absent(fact: Fact | None, _: FactAbsent) -> Failure | None:
    return FAILED if fact else None


def fact_present(fact: Fact | None, _: FactPresent) -> Failure | None:
    return None if fact else FAILED


# --- checks that look at more
def intent_confirmed(hearing: Hearing, check: IntentConfirmed) -> Failure | None:
    fact = hearing.read(f"intent.{check.intent}")
    if fact is not None and fact.value == "confirmed" and fact.final:
        return None
    if fact is not None and fact.value == "lapsed":
        return Failure(code=ReasonCode.STALE_FACT)
    if hearing.read(f"conflict.{check.intent}"):
        return Failure(code=ReasonCode.CONFLICTING_FACTS)
    if fact is None or fact.value in ("withdrawn", "paused"):
        return FAILED
    if hearing.read(f"late.{check.intent}"):
        return Failure(code=ReasonCode.LATE_EVIDENCE)
    needed = hearing.law.intent_threshold(check.intent).min_confidence
    is_low = fact.confidence is not None and fact.confidence < needed
    return Failure(code=ReasonCode.LOW_CONFIDENCE if is_low else ReasonCode.INTERIM_ONLY)


def answered_by(hearing: Hearing, check: AnsweredByCheck) -> Failure | None:
    found = hearing.value("conversation.answered_by")
    if found in ("", AnsweredBy.UNKNOWN):
        # Neither a person nor a machine by guess: the rule says what is conservative for its actions.
        counts_as = check.unknown if found else check.missing
        return None if counts_as == "holds" else Failure(code=ReasonCode.MISSING_FACT)
    return None if found == check.who else FAILED


def obligation_met(hearing: Hearing, check: ObligationMet) -> Failure | None:
    known = hearing.value("lead.jurisdictions") if check.jurisdictions else ""
    if known and not set(known.split(",")) & set(check.jurisdictions):
        return None  # Where nothing is known of the place, it is held to be one of them.
    return None if hearing.value(f"obligation.{check.obligation}") == "fulfilled" else FAILED


def action_in_role(hearing: Hearing, _: object) -> Failure | None:
    return None if hearing.request.action in hearing.role.actions else FAILED


def channel_in_role(hearing: Hearing, _: object) -> Failure | None:
    return None if hearing.request.channel in hearing.role.channels else FAILED


def tool_in_role(hearing: Hearing, _: object) -> Failure | None:
    tool = hearing.request.tool
    return None if tool is None or tool in hearing.role.tools else FAILED


def prompt_in_scope(hearing: Hearing, _: object) -> Failure | None:
    scope = hearing.request.prompt_scope
    return None if scope is None or scope in hearing.role.prompt_scope else FAILED


def tokens_in_limit(hearing: Hearing, _: object) -> Failure | None:
    wanted = hearing.request.max_tokens
    if wanted is None:
        return None
    if wanted < 1:
        return Failure(code=ReasonCode.PARAMETER_INVALID)
    limits = [hearing.role.max_tokens, hearing.law.mode(mode).max_tokens if (mode := _mode(hearing)) else None]
    return FAILED if any(limit is not None and wanted > limit for limit in limits) else None


def wording(hearing: Hearing, _: object) -> Failure | None:
    text = hearing.request.text
    if not text:
        return None
    barred = hearing.law.barred_wording(text, _mode(hearing) or _mode_of_writing(hearing))
    return Failure(detail=f"class {barred}") if barred else None


def _mode_of_writing(hearing: Hearing) -> SpeechMode:
    """Outside of a conversation no mode is kept: words are weighed as they would be in one."""
    is_open = hearing.law.is_last_stage(hearing.value("stage")) and not hearing.value("objection.open")
    return SpeechMode.OPEN if is_open else SpeechMode.NO_COMMITMENT


def mode_allows(hearing: Hearing, _: object) -> Failure | None:
    if hearing.request.conversation_id is None:
        return None
    if hearing.read(f"barred.{hearing.action.kind}"):
        return FAILED
    uses_tool = hearing.request.tool is not None and hearing.action.kind not in ("record", "end")
    mode = _mode(hearing) if uses_tool else None
    return FAILED if mode is not None and not hearing.law.mode(mode).tools else None


def _mode(hearing: Hearing) -> SpeechMode | None:
    """Speech mode of the request's conversation; None outside of one."""
    found = hearing.value("speech_mode") if hearing.request.conversation_id is not None else ""
    return SpeechMode(found) if found else None


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
    """The conversation is answered, and the request is about its channel: naming another gets round nothing."""
    if not hearing.action.in_conversation:
        return None
    if hearing.value("conversation.phase") != "answered":
        return FAILED
    # A call of the backend speaks to nobody; its grant names the channel, and is worth nothing on another.
    same = hearing.request.channel in (Channel.BACKEND, hearing.value("conversation.channel"))
    return None if same else Failure(code=ReasonCode.CHANNEL_NOT_ALLOWED, detail="not the conversation's channel")


def floor_free(hearing: Hearing, _: object) -> Failure | None:
    if not hearing.action.takes_floor:
        return None
    return None if hearing.value("floor") in ("", hearing.request.agent_id) else FAILED


def turn_free(hearing: Hearing, _: object) -> Failure | None:
    """The agent who had the lead before must be silent before another speaks."""
    if not hearing.action.takes_floor:
        return None
    outgoing = hearing.value("conversation.outgoing")
    if outgoing == hearing.request.agent_id:
        # Who gave the lead up and speaks on has it again only when nobody waits for the silence.
        return FAILED if hearing.value("conversation.awaited") else None
    return FAILED if outgoing else None


def effect_free(hearing: Hearing, _: object) -> Failure | None:
    holder = hearing.value(f"pending.{hearing.action.effect}")
    if not holder or (holder == hearing.request.agent_id and not hearing.action.irreversible):
        return None
    return FAILED


def effect_not_refused(hearing: Hearing, _: object) -> Failure | None:
    fact = hearing.read(f"refused.{hearing.action.effect}")
    return Failure(not_before=fact.until, detail=f"by {fact.value}") if fact else None


def not_suspended(hearing: Hearing, _: object) -> Failure | None:
    return FAILED if hearing.value(f"suspended.{hearing.request.action}") else None


def in_time(hearing: Hearing, _: object) -> Failure | None:
    # Age counts to the moment a request was first heard: waiting in a defer doesn't make it late.
    oldest = hearing.first_heard_at - hearing.law.bundle.limits.request_max_age_s * SECOND
    deadline = hearing.request.deadline
    late = hearing.request.requested_at < oldest or (deadline is not None and deadline <= hearing.now)
    # A clock that runs ahead would make an old request look fresh: it tells no time.
    ahead = hearing.request.requested_at > hearing.first_heard_at + hearing.law.bundle.limits.max_skew_s * SECOND
    return Failure(detail="by a clock that runs ahead") if ahead else FAILED if late else None


FACT_CHECKS: dict[str, Callable[[Fact | None, Any], Failure | None]] = {
    check.__name__: check for check in (fact_in, fact_not_in, fact_absent, fact_present)
}
"""Kinds of check that look at one fact's value and finality, by their name in a bundle."""

CHECKS: dict[str, Callable[[Hearing, Any], Failure | None]] = {
    check.__name__: check
    for check in (
        intent_confirmed, answered_by, obligation_met, action_in_role, channel_in_role, tool_in_role, prompt_in_scope,
        tokens_in_limit, wording, mode_allows, fields_in_role, within_authority, stage_reached, conversation_live,
        calling_hours, attempts, retries, contactable, floor_free, turn_free, effect_free, effect_not_refused,
        not_suspended, consent, in_time,
    )
}  # fmt: skip
"""All other kinds but `condition`, which `processors.conditions` evaluates."""
