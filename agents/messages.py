"""The records that an agent sends."""

import re
import secrets
import uuid
from collections.abc import Mapping, Sequence

from agents.config import AgentConfig
from agents.verdict import Verdict
from schemas.digest import Parameters, parameters_digest
from schemas.headers import Headers, cloud_event
from schemas.records import (
    AgentId,
    AgentOutcome,
    AgentRequest,
    Channel,
    ConversationId,
    Decision,
    GrantId,
    LeadId,
    OutcomeResult,
    RequestId,
    TimeUs,
)

_OUTCOMES = uuid.UUID("5f0c2b7e-5a70-5c4e-9b57-8d3a0c6f7a11")
_LONG = 2**63
MAX_ID, MAX_TEXT, MAX_ITEMS = 200, 8_000, 100
"""Characters of an id or name, characters of a text, entries of a map: intake refuses more."""

_REPORTABLE = (OutcomeResult.DONE, OutcomeResult.FAILED, OutcomeResult.ABANDONED, OutcomeResult.DECLINED)
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def make_request(
    config: AgentConfig,
    lead_id: str,
    action: str,
    channel: Channel | str,
    parameters: Parameters,
    crm_fields: Mapping[str, str],
    tool: str | None,
    conversation_id: str | None,
    request_id: str | None,
    deadline: TimeUs | None,
    text: str | None = None,
    prompt_scope: str | None = None,
    max_tokens: int | None = None,
) -> AgentRequest:
    """A request that the contract allows; ValueError says what is wrong with it."""
    if not lead_id or not action:
        raise ValueError("lead_id and action must not be empty")
    _check_values(parameters, crm_fields)
    parameters_digest(parameters, crm_fields, tool)
    if conversation_id == "":
        raise ValueError("conversation_id must not be empty; None means that there is no conversation yet")
    names = {"lead_id": lead_id, "action": action, "tool": tool, "conversation_id": conversation_id,
             "request_id": request_id, "prompt_scope": prompt_scope}  # fmt: skip
    for name, value in names.items():
        _check_text(name, value, MAX_ID)
    _check_text("text", text, MAX_TEXT)
    _check_tokens(max_tokens)
    return AgentRequest(
        request_id=RequestId(request_id or str(uuid.uuid4())),
        lead_id=LeadId(lead_id),
        conversation_id=None if conversation_id is None else ConversationId(conversation_id),
        agent_id=AgentId(config.agent_id),
        role=config.role,
        action=action,
        channel=_channel(channel),
        parameters=dict(parameters),
        crm_fields=dict(crm_fields),
        tool=tool,
        requested_at=config.now(),
        deadline=deadline,
        text=text,
        prompt_scope=prompt_scope,
        max_tokens=max_tokens,
    )


def make_outcome(
    verdict: Verdict,
    result: OutcomeResult | str,
    fulfilled: Sequence[str],
    detail: str | None,
    conversation_id: str | None,
    now: TimeUs,
) -> AgentOutcome:
    """The report on a permit; ValueError when there was none, or for a result that a permit can't have."""
    decision = verdict.decision
    if decision is None or not verdict.permitted or decision.grant_id is None:
        raise ValueError(f"there is nothing to report: the verdict is {verdict.answer.value}, and only a PERMIT allows")
    unknown = sorted(set(fulfilled) - set(decision.obligations))
    if unknown:
        raise ValueError(f"the permit has no obligation {', '.join(unknown)}; it has {list(decision.obligations)}")
    _check_text("detail", detail, MAX_TEXT)
    return _outcome(decision, decision.grant_id, _result(result), now, tuple(fulfilled), detail, conversation_id)


def given_up(decision: Decision, detail: str, now: TimeUs) -> AgentOutcome:
    """The report on an answer that nobody will use: a permit is abandoned, a request that waits is withdrawn."""
    if decision.defer is not None and decision.grant_id is None:
        # There is no grant yet, and an id must not be empty: the defer's stands in its place.
        grant_id = GrantId(decision.defer.defer_id)
        return _outcome(decision, grant_id, OutcomeResult.CANCELLED, now, (), detail, None)
    return _outcome(decision, GrantId(decision.grant_id or ""), OutcomeResult.ABANDONED, now, (), detail, None)


def _outcome(
    decision: Decision,
    grant_id: GrantId,
    result: OutcomeResult,
    now: TimeUs,
    fulfilled: tuple[str, ...],
    detail: str | None,
    conversation_id: str | None,
) -> AgentOutcome:
    return AgentOutcome(
        outcome_id=str(uuid.uuid5(_OUTCOMES, f"{grant_id}:{result.value}")),
        lead_id=decision.lead_id,
        conversation_id=ConversationId(conversation_id) if conversation_id else decision.conversation_id,
        agent_id=decision.agent_id,
        request_id=decision.request_id,
        grant_id=grant_id,
        result=result,
        fulfilled=fulfilled,
        detail=detail,
        occurred_at=now,
    )


def headers_of(record: AgentRequest | AgentOutcome, traceparent: str | None = None) -> Headers:
    """CloudEvents headers and a trace context: the given one, or a fresh one. ValueError for a malformed one."""
    if traceparent is not None and not _TRACEPARENT.fullmatch(traceparent):
        raise ValueError(f"{traceparent!r} is not a W3C traceparent of version 00")
    return cloud_event(
        record,
        id=record.request_id if isinstance(record, AgentRequest) else record.outcome_id,
        source=f"/mandate/agents/{record.agent_id}",
        subject=record.lead_id,
        at=record.requested_at if isinstance(record, AgentRequest) else record.occurred_at,
        traceparent=traceparent or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
    )


def _check_text(name: str, value: str | None, limit: int) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise ValueError(f"{name} is {type(value).__name__}: text is expected")
    if len(value) > limit:
        raise ValueError(f"{name} has {len(value)} characters; at most {limit} are taken")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half of a surrogate pair: non-UTF-8 can't be sent") from error


def _check_tokens(max_tokens: int | None) -> None:
    if max_tokens is None:
        return
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or not 1 <= max_tokens < _LONG:
        raise ValueError(f"max_tokens is {max_tokens!r}: a whole number from 1 is expected, or None for no limit")


def _check_values(parameters: Parameters, crm_fields: Mapping[str, str]) -> None:
    for kind, values in (("parameter", parameters), ("CRM field", crm_fields)):
        if len(values) > MAX_ITEMS:
            raise ValueError(f"there are {len(values)} {kind}s; at most {MAX_ITEMS} are taken")
        for name, value in values.items():
            if name == "":
                raise ValueError(f"a {kind} needs a name")
            _check_text(f"the name of a {kind}", name, MAX_ID)
            _check_text(f"{kind} {name!r}", value if isinstance(value, str) else None, MAX_TEXT)
    for name, value in parameters.items():
        if not isinstance(value, bool | int | str):
            raise ValueError(
                f"parameter {name!r} is {type(value).__name__}: only bool, int and str are allowed"
                " (money in minor units, discounts in basis points)"
            )
        if isinstance(value, int) and not -_LONG <= value < _LONG:
            raise ValueError(f"parameter {name!r} is {value}: integers have 64 bits")
    for name, text in crm_fields.items():
        if not isinstance(text, str):
            raise ValueError(f"CRM field {name!r} is {type(text).__name__}: CRM fields are text")


def _channel(channel: Channel | str) -> Channel:
    known = [c for c in Channel if c is not Channel.UNKNOWN]
    found = next((c for c in known if c.value == str(channel).upper()), None)
    if found is None:
        raise ValueError(f"no channel {str(channel)!r}; there are {', '.join(c.value for c in known)}")
    return found


def _result(result: OutcomeResult | str) -> OutcomeResult:
    found = next((r for r in _REPORTABLE if r.value == str(result).upper()), None)
    if found is None:
        raise ValueError(f"no result {str(result)!r} of a permit; there are {', '.join(r.value for r in _REPORTABLE)}")
    return found
