"""What people do about a lead: cases, pauses, refusals, overrides. What is not accepted is recorded with its reason."""

from collections.abc import Callable

from processors import escalation, grants, overrides, refusals
from processors.conversation import release_floor
from processors.draft import Draft
from processors.lead import MAX_REASON
from schemas.records import CaseStatus, DirectiveType, HumanIntervention, InterventionType, ReasonCode


def on_intervention(draft: Draft, intervention: HumanIntervention) -> None:
    """Folds one intervention."""
    handler = _HANDLERS.get(intervention.type)
    problem = handler(draft, intervention) if handler else f"there is no intervention {intervention.type}"
    if problem:
        draft.set_fact("intervention.rejected", f"{intervention.intervention_id}: {problem}"[:MAX_REASON])


def _case(status: CaseStatus) -> Callable[[Draft, HumanIntervention], str | None]:
    def change(draft: Draft, intervention: HumanIntervention) -> str | None:
        case_id = intervention.case_id or ""
        if escalation.change(draft, case_id, status, intervention.author):
            return None
        return f"case {case_id!r} is not open"

    return change


def _halt(directive: DirectiveType) -> Callable[[Draft, HumanIntervention], str | None]:
    def halt(draft: Draft, intervention: HumanIntervention) -> str | None:
        draft.set_fact("paused", intervention.author)
        grants.cut_off(draft, ReasonCode.STOPPED_BY_HUMAN, intervention.reason, "paused")
        release_floor(draft)
        draft.direct(directive, ReasonCode.STOPPED_BY_HUMAN, intervention.reason)
        return None

    return halt


def _resume(draft: Draft, intervention: HumanIntervention) -> str | None:
    if not draft.value("paused"):
        return "nothing is paused"
    draft.drop_fact("paused")
    draft.direct(DirectiveType.RELEASE, ReasonCode.STOPPED_BY_HUMAN, intervention.reason)
    return None


def _refuse(draft: Draft, intervention: HumanIntervention) -> str | None:
    """A person bars effects, at once or from a time on."""
    known = draft.law.effects if draft.law else frozenset()
    unknown = sorted(set(intervention.effects) - known)
    if unknown or not intervention.effects:
        return f"no effect {', '.join(unknown) or 'is named'}"
    if intervention.until is not None and intervention.until <= draft.now:
        return "it is over already"
    for effect in intervention.effects:
        refusals.bar(
            draft, effect, "human", ReasonCode.EFFECT_REFUSED, until=intervention.until, since=intervention.since,
            reason=intervention.reason,
        )  # fmt: skip
    return None


def _lift(draft: Draft, intervention: HumanIntervention) -> str | None:
    """A person frees what a person or a rule barred; what the buyer refused only the buyer frees."""
    freed = [
        refusals.lift(draft, effect, by) for effect in intervention.effects for by in ("human", "policy")
    ]  # fmt: skip
    return None if any(freed) else "nobody but the buyer bars these effects"


_HANDLERS: dict[InterventionType, Callable[[Draft, HumanIntervention], str | None]] = {
    InterventionType.CASE_ACKNOWLEDGED: _case(CaseStatus.ACKNOWLEDGED),
    InterventionType.CASE_RESOLVED: _case(CaseStatus.RESOLVED),
    InterventionType.PAUSE: _halt(DirectiveType.PAUSE),
    InterventionType.STOP: _halt(DirectiveType.STOP),
    InterventionType.RESUME: _resume,
    InterventionType.REFUSE: _refuse,
    InterventionType.REFUSAL_LIFTED: _lift,
    InterventionType.OVERRIDE: overrides.add,
    InterventionType.OVERRIDE_WITHDRAWN: overrides.withdraw,
}
