"""What goes out in answer to a request: the decision, and behind a permit the grant with all that it takes."""

from processors import grants
from processors.draft import Draft
from processors.judge import Judgement
from processors.lead import SECOND
from processors.policy.names import CRM_ACTION
from schemas.records import (
    AgentRequest,
    CrmUpdate,
    Decision,
    DecisionId,
    DeferTerms,
    DirectiveType,
    Floor,
    GrantId,
    OverrideUse,
    Permission,
    PermissionStatus,
    ReasonCode,
    SpeechMode,
)


def permit(draft: Draft, request: AgentRequest, judgement: Judgement, terms: DeferTerms | None) -> None:
    """Grants a request: takes the floor, marks the effect as pending, signs the grant."""
    assert draft.law is not None  # a judgement without a law is a BLOCK
    action = draft.law.bundle.actions[request.action]
    if action.takes_floor:
        _take_floor(draft, request, draft.law.bundle.limits.floor_lease_s)
    draft.set_fact(f"pending.{action.effect}", request.agent_id)
    grant_id = GrantId(draft.derive("grant", request.request_id))
    permission = grants.permission_of(draft, request, action, grant_id, judgement.read_set)
    draft.add("permissions", permission)
    token = grants.sign_grant(draft, request, action, grant_id)
    decision = answer(draft, request, judgement, terms, permission=permission, token=token)
    if request.action == CRM_ACTION:
        # The write is on the log with its grant from here on: the grant is used.
        _write_crm(draft, request, decision, token)
        grants.end(draft, permission, PermissionStatus.USED)


def _take_floor(draft: Draft, request: AgentRequest, lease_s: int) -> None:
    """The lead is the agent's. Who had the call before is told to be silent before the permit goes out.

    Asking again makes the lease no longer while another agent waits for the lead.
    """
    held, until = draft.get("floor"), draft.now + lease_s * SECOND
    is_awaited = any("floor" in d.resume_when for d in draft.get("deferrals") if d.request.agent_id != request.agent_id)
    if held is not None and held.agent_id == request.agent_id and is_awaited:
        until = held.until
    draft.put("floor", Floor(agent_id=request.agent_id, role=request.role, until=until))
    draft.set_fact("floor", request.agent_id)
    conversation = draft.conversation(request.conversation_id)
    if conversation is None or conversation.agent_id == request.agent_id:
        return
    if conversation.agent_id:
        draft.direct(
            DirectiveType.HOLD, ReasonCode.FLOOR_PASSED, f"{request.agent_id} has the lead now: be silent.",
            conversation_id=conversation.conversation_id, agent_id=conversation.agent_id,
        )  # fmt: skip
    draft.update_conversation(conversation.conversation_id, agent_id=request.agent_id)


def answer(
    draft: Draft, request: AgentRequest, judgement: Judgement, terms: DeferTerms | None, *,
    permission: Permission | None = None, token: str | None = None,
) -> Decision:  # fmt: skip
    """The decision on a request, as an output."""
    decision_id = DecisionId(draft.derive("decision", request.request_id))
    role = draft.law.bundle.roles.get(request.role) if draft.law else None
    mode = SpeechMode(draft.value("speech_mode", request.conversation_id) or SpeechMode.SILENT)
    decision = Decision(
        decision_id=decision_id, request_id=request.request_id, lead_id=draft.base.lead_id,
        conversation_id=request.conversation_id, agent_id=request.agent_id, role=request.role, action=request.action,
        channel=request.channel, verdict=judgement.verdict, criteria=judgement.criteria, defer=terms, grant=token,
        grant_id=permission.grant_id if permission else None,
        expires_at=permission.expires_at if permission else None,
        single_use=permission.single_use if permission else False,
        obligations=permission.obligations if permission else (),
        speech_mode=mode,
        policy_version=draft.law.bundle.version if draft.law else "",
        policy_digest=draft.law.digest if draft.law else "",
        read_set=judgement.read_set, position=draft.position, requested_at=request.requested_at, at=draft.now,
        traceparent=draft.entry.traceparent, override=_override_of(judgement),
        max_tokens=_token_limit(draft, request, mode), prompt_scope=role.prompt_scope if role else (),
    )  # fmt: skip
    draft.emit(decision_id, decision)
    return decision


def _override_of(judgement: Judgement) -> OverrideUse | None:
    """What an override changed: before and after stand in one record."""
    by = judgement.override
    if by is None:
        return None
    return OverrideUse(
        override_id=by.override_id, author=by.by, author_role=by.role, reason=by.reason,
        before=judgement.before, lifted=judgement.lifted,
    )  # fmt: skip


def _token_limit(draft: Draft, request: AgentRequest, mode: SpeechMode) -> int | None:
    """Longest answer that role and speech mode allow."""
    role = draft.law.bundle.roles.get(request.role) if draft.law else None
    if draft.law is None or role is None:
        return None
    limits = [role.max_tokens]
    if draft.conversation(request.conversation_id) is not None:
        limits.append(draft.law.mode(mode).max_tokens)
    return min((limit for limit in limits if limit is not None), default=None)


def _write_crm(draft: Draft, request: AgentRequest, decision: Decision, token: str) -> None:
    update_id = draft.derive("crm", request.request_id)
    update = CrmUpdate(
        update_id=update_id, lead_id=draft.base.lead_id, external_id=draft.value("lead.external_id"),
        fields=request.crm_fields, parameters=request.parameters, tool=request.tool,
        role=request.role, agent_id=request.agent_id, decision_id=decision.decision_id,
        grant=token, effective_offset=draft.position.offset, at=draft.now,
    )  # fmt: skip
    draft.emit(update_id, update)
