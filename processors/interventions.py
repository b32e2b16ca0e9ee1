"""What people do about a lead."""

from processors import escalation, grants
from processors.conversation import release_floor
from processors.draft import Draft
from schemas.records import CaseStatus, DirectiveType, HumanIntervention, InterventionType, ReasonCode


def on_intervention(draft: Draft, intervention: HumanIntervention) -> None:
    """Folds one intervention."""
    kind = intervention.type
    if kind is InterventionType.CASE_ACKNOWLEDGED and intervention.case_id:
        escalation.change(draft, intervention.case_id, CaseStatus.ACKNOWLEDGED, intervention.author)
    elif kind is InterventionType.CASE_RESOLVED and intervention.case_id:
        escalation.change(draft, intervention.case_id, CaseStatus.RESOLVED, intervention.author)
    elif kind in (InterventionType.PAUSE, InterventionType.STOP):
        draft.set_fact("paused", intervention.author)
        grants.cut_off(draft, ReasonCode.STOPPED_BY_HUMAN, intervention.reason, "paused")
        release_floor(draft)
        directive = DirectiveType.PAUSE if kind is InterventionType.PAUSE else DirectiveType.STOP
        draft.direct(directive, ReasonCode.STOPPED_BY_HUMAN, intervention.reason)
    elif kind is InterventionType.RESUME and draft.value("paused"):
        draft.drop_fact("paused")
        draft.direct(DirectiveType.RELEASE, ReasonCode.STOPPED_BY_HUMAN, intervention.reason)
