"""What Mandate does in its own name: it records an opt-out in the CRM, under a grant like everybody else's.

That is a duty and nobody's proposal: no rule judges it, and a no to CRM writes, which binds every agent, does not keep
the buyer's own no from the CRM.
"""

from processors.answers import permit
from processors.draft import Draft
from processors.judge import SYSTEM_ROLE, Judgement
from processors.policy.names import CRM_ACTION
from schemas.records import AgentId, AgentRequest, Channel, Criterion, CriterionName, RequestId, Verdict

SYSTEM_AGENT = AgentId("mandate")


def record_opt_out(draft: Draft) -> None:
    """Writes the opt-out to the lead's CRM record; nothing when no record, policy role or CRM action is known."""
    if draft.law is None or not draft.value("lead.external_id"):
        return
    if SYSTEM_ROLE not in draft.law.bundle.roles or CRM_ACTION not in draft.law.bundle.actions:
        return
    request = AgentRequest(
        request_id=RequestId(draft.derive("system", "opt-out")), lead_id=draft.base.lead_id, agent_id=SYSTEM_AGENT,
        role=SYSTEM_ROLE, action=CRM_ACTION, channel=Channel.BACKEND, crm_fields={"do_not_contact": "true"},
        requested_at=draft.now,
    )  # fmt: skip
    criteria = tuple(Criterion(name=name, verdict=Verdict.PERMIT) for name in CriterionName)
    reads = (draft.ref("lead.external_id"),)
    permit(draft, request, Judgement(Verdict.PERMIT, criteria, reads), None)
