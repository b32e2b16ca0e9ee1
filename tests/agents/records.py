"""Decisions, requests and directives for the tests of the client."""

from typing import Any

from schemas.records import (
    AgentId,
    AgentRequest,
    Channel,
    Criterion,
    CriterionName,
    Decision,
    DecisionId,
    DeferEnd,
    DeferTerms,
    Directive,
    DirectiveType,
    GrantId,
    LeadId,
    Position,
    Reason,
    ReasonCode,
    RequestId,
    SpeechMode,
    Verdict,
)

NOW = 1_700_000_000_000_000


def request(request_id: str = "request-1", **changes: Any) -> AgentRequest:
    values: dict[str, Any] = {
        "lead_id": "lead-1",
        "agent_id": "closer-1",
        "role": "closing",
        "action": "discuss_price",
        "channel": Channel.VOICE,
        "requested_at": NOW,
    }
    return AgentRequest(request_id=RequestId(request_id), **{**values, **changes})


def decision(asked: AgentRequest, verdict: Verdict, number: int = 1, **changes: Any) -> Decision:
    """An answer; PERMIT has a grant id, DEFER its terms, BLOCK and DEFER a reason each of two criteria."""
    reasons = {
        Verdict.BLOCK: ((ReasonCode.DO_NOT_CONTACT, "the lead opted out"), (ReasonCode.MIN_GAP, "called an hour ago")),
        Verdict.DEFER: ((ReasonCode.LEAD_SPEAKING, "the lead is speaking"),),
    }.get(verdict, ())
    criteria = [
        Criterion(name=name, verdict=verdict, reasons=(Reason(code=code, rule_id="rule", message=message),))
        for name, (code, message) in zip(CriterionName, reasons, strict=False)
    ]
    terms = DeferTerms(defer_id="defer-1", deadline=NOW + 5_000_000, on_deadline=DeferEnd.BLOCK)
    values: dict[str, Any] = {
        "conversation_id": asked.conversation_id,
        "criteria": tuple(criteria),
        "defer": terms if verdict is Verdict.DEFER else None,
        "grant_id": GrantId(f"grant-of-{asked.request_id}") if verdict is Verdict.PERMIT else None,
        "speech_mode": SpeechMode.OPEN,
        "position": Position(partition=0, offset=number),
        "at": NOW,
    }
    return Decision(
        decision_id=DecisionId(f"{asked.request_id}:{number}"),
        request_id=asked.request_id,
        lead_id=asked.lead_id,
        agent_id=asked.agent_id,
        role=asked.role,
        action=asked.action,
        channel=asked.channel,
        verdict=verdict,
        policy_version="1",
        policy_digest="policy-1",
        requested_at=asked.requested_at,
        **{**values, **changes},
    )


def directive(kind: DirectiveType, offset: int, **changes: Any) -> Directive:
    values: dict[str, Any] = {"lead_id": LeadId("lead-1"), "conversation_id": None, "agent_id": AgentId("closer-1")}
    return Directive(
        directive_id=f"directive-{offset}",
        type=kind,
        code=ReasonCode.PAUSED_BY_HUMAN,
        message="a person paused it",
        position=Position(partition=0, offset=offset),
        at=NOW,
        **{**values, **changes},
    )
