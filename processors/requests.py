"""The life of a request: heard once, answered, perhaps deferred, judged again, and always ended."""

import msgspec

from processors import escalation, grants
from processors.dialogue import speech_mode_of
from processors.draft import Draft
from processors.ids import short_digest
from processors.judge import Judgement, judge, refuse
from processors.lead import SECOND
from schemas.records import (
    AgentRequest,
    CriterionName,
    CrmUpdate,
    Decision,
    DecisionId,
    DeferEnd,
    Deferral,
    DeferTerms,
    Floor,
    GrantId,
    Judged,
    Permission,
    PermissionStatus,
    ReasonCode,
    Verdict,
)


def hear(draft: Draft, request: AgentRequest) -> None:
    """A request arrives. A repeat of one that was answered changes nothing: the answer is on the log."""
    digest = short_digest(
        request.agent_id, request.role, request.action, request.conversation_id or "", request.channel,
        grants.request_digest(request),
    )  # fmt: skip
    known = next((j for j in draft.get("judged") if j.request_id == request.request_id), None)
    if known is not None:
        if known.digest != digest:
            message = "Another request was already answered under this request_id: choose a new one."
            _decide(draft, request, refuse(CriterionName.GOVERNANCE, ReasonCode.REQUEST_CONFLICT, message), None)
        return
    judgement = judge(request, draft.get("attempts"), draft.facts, draft.now, draft.law, draft.now)
    draft.add("judged", Judged(request_id=request.request_id, digest=digest, verdict=judgement.verdict))
    if judgement.verdict is Verdict.DEFER and judgement.wait is not None:
        defer = msgspec.structs.replace(judgement.wait, defer_id=draft.derive("defer", request.request_id))
        _wait(draft, request, defer)
        _decide(draft, request, judgement, defer)
    else:
        _conclude(draft, request, judgement, None)


def _wait(draft: Draft, request: AgentRequest, defer: DeferTerms) -> None:
    draft.add(
        "deferrals",
        Deferral(
            defer_id=defer.defer_id, request=request, resume_when=defer.resume_when, not_before=defer.not_before,
            deadline=defer.deadline, on_deadline=defer.on_deadline, deferred_at=draft.now,
            traceparent=draft.entry.traceparent,
        ),
    )  # fmt: skip


def judge_again(draft: Draft, dirty: set[str]) -> None:
    """Judges the waiting requests that named one of the changed facts, in the order in which they began to wait."""
    for deferral in draft.get("deferrals"):
        if dirty.intersection(deferral.resume_when) and deferral in draft.get("deferrals"):
            _judge_deferral(draft, deferral)


def judge_due(draft: Draft) -> None:
    """Judges or ends the waiting requests whose time has come."""
    for deferral in draft.get("deferrals"):
        if deferral.deadline <= draft.now:
            _expire(draft, deferral)
        elif deferral.not_before is not None and deferral.not_before <= draft.now:
            _judge_deferral(draft, deferral)


def _judge_deferral(draft: Draft, deferral: Deferral) -> None:
    judgement = judge(
        deferral.request,
        draft.get("attempts"),
        draft.facts,
        draft.now,
        draft.law,
        deferral.deferred_at,
        deferral.deadline,
    )
    if judgement.verdict is Verdict.DEFER and judgement.wait is not None:
        again = msgspec.structs.replace(
            deferral, resume_when=judgement.wait.resume_when, not_before=judgement.wait.not_before
        )
        draft.put("deferrals", tuple(again if d is deferral else d for d in draft.get("deferrals")))
        return
    _stop_waiting(draft, deferral)
    _conclude(draft, deferral.request, judgement, deferral)


def _expire(draft: Draft, deferral: Deferral) -> None:
    """The deadline: BLOCK, with or without a case for a person, whatever a judgement would say by now."""
    _stop_waiting(draft, deferral)
    message = "What the request waited for did not happen in time."
    facts = tuple(draft.ref(name) for name in deferral.resume_when)
    judgement = refuse(CriterionName.STATE, ReasonCode.DEFER_EXPIRED, message, facts)
    _conclude(draft, deferral.request, judgement, deferral)
    if deferral.on_deadline is DeferEnd.ESCALATE:
        escalation.open_for_defer(draft, deferral)


def end_for_conversation(draft: Draft, deferral: Deferral) -> None:
    """The conversation that a waiting request belongs to is over."""
    _stop_waiting(draft, deferral)
    judgement = refuse(CriterionName.STATE, ReasonCode.CONVERSATION_ENDED, "The conversation ended.")
    _conclude(draft, deferral.request, judgement, deferral)


def _stop_waiting(draft: Draft, deferral: Deferral) -> None:
    draft.put("deferrals", tuple(d for d in draft.get("deferrals") if d.defer_id != deferral.defer_id))


def _conclude(draft: Draft, request: AgentRequest, judgement: Judgement, deferral: Deferral | None) -> None:
    terms = _terms_of(deferral) if deferral else None
    if judgement.verdict is Verdict.PERMIT:
        permit(draft, request, judgement, terms)
        return
    _decide(draft, request, judgement, terms)
    escalation.open_for_codes(draft, judgement.codes, request.conversation_id)


def _terms_of(deferral: Deferral) -> DeferTerms:
    return DeferTerms(
        defer_id=deferral.defer_id, resume_when=deferral.resume_when, not_before=deferral.not_before,
        deadline=deferral.deadline, on_deadline=deferral.on_deadline,
    )  # fmt: skip


def permit(draft: Draft, request: AgentRequest, judgement: Judgement, terms: DeferTerms | None) -> None:
    """Grants a request: takes the floor, marks the effect as pending, signs the grant."""
    assert draft.law is not None  # a judgement without a law is a BLOCK
    action = draft.law.bundle.actions[request.action]
    if action.takes_floor:
        until = draft.now + draft.law.bundle.limits.floor_lease_s * SECOND
        draft.put("floor", Floor(agent_id=request.agent_id, role=request.role, until=until))
        draft.set_fact("floor", request.agent_id)
    draft.set_fact(f"pending.{action.effect}", request.agent_id)
    grant_id = GrantId(draft.derive("grant", request.request_id))
    permission = grants.permission_of(draft, request, action, grant_id, judgement.read_set)
    draft.add("permissions", permission)
    token = grants.sign_grant(draft, request, action, grant_id)
    decision = _decide(draft, request, judgement, terms, permission=permission, token=token)
    if request.action == "update_crm":
        # The write is on the log with its grant from here on: the grant is used.
        _write_crm(draft, request, decision, token)
        grants.end(draft, permission, PermissionStatus.USED)


def _decide(
    draft: Draft, request: AgentRequest, judgement: Judgement, terms: DeferTerms | None, *,
    permission: Permission | None = None, token: str | None = None,
) -> Decision:  # fmt: skip
    decision_id = DecisionId(draft.derive("decision", request.request_id))
    decision = Decision(
        decision_id=decision_id, request_id=request.request_id, lead_id=draft.base.lead_id,
        conversation_id=request.conversation_id, agent_id=request.agent_id, role=request.role, action=request.action,
        channel=request.channel, verdict=judgement.verdict, criteria=judgement.criteria, defer=terms, grant=token,
        grant_id=permission.grant_id if permission else None,
        expires_at=permission.expires_at if permission else None,
        single_use=permission.single_use if permission else False,
        obligations=permission.obligations if permission else (),
        speech_mode=speech_mode_of(draft, request.conversation_id),
        policy_version=draft.law.bundle.version if draft.law else "",
        policy_digest=draft.law.digest if draft.law else "",
        read_set=judgement.read_set, position=draft.position, requested_at=request.requested_at, at=draft.now,
        traceparent=draft.entry.traceparent,
    )  # fmt: skip
    draft.emit(decision_id, decision)
    return decision


def _write_crm(draft: Draft, request: AgentRequest, decision: Decision, token: str) -> None:
    update_id = draft.derive("crm", request.request_id)
    update = CrmUpdate(
        update_id=update_id, lead_id=draft.base.lead_id, external_id=draft.value("lead.external_id"),
        fields=request.crm_fields, parameters=request.parameters, tool=request.tool,
        role=request.role, agent_id=request.agent_id, decision_id=decision.decision_id,
        grant=token, effective_offset=draft.position.offset, at=draft.now,
    )  # fmt: skip
    draft.emit(update_id, update)
