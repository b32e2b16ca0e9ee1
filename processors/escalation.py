"""Cases for people: opened by a trigger of the policy, one open case per cause, never two.

While a case is open the actions it suspends wait; all else goes on. A case that expires stays a case: what it
suspends stays suspended until a person resolves it.
"""

from collections.abc import Iterable

import msgspec

from processors.draft import Draft
from processors.facts import CONVERSATION, is_named
from processors.lead import SECOND
from processors.policy import Trigger
from schemas.records import (
    AgentRequest,
    CaseStatus,
    ConversationId,
    Deferral,
    EscalationCase,
    OpenCase,
    ReasonCode,
    SignalType,
    Verdict,
)

DEFER_CASE_S = 3600


def open_for_signal(draft: Draft, signal: SignalType, conversation_id: ConversationId | None) -> None:
    """Opens the case that a signal calls for, if the policy has one."""
    trigger = draft.law.trigger_of_signal(signal) if draft.law else None
    if trigger is not None:
        _open_trigger(draft, trigger, conversation_id)


def open_for_codes(draft: Draft, codes: Iterable[ReasonCode], conversation_id: ConversationId | None) -> None:
    """Opens the cases that the reasons of a BLOCK call for."""
    for code in sorted(codes):
        trigger = draft.law.trigger_of_code(code) if draft.law else None
        if trigger is not None:
            _open_trigger(draft, trigger, conversation_id)


def open_for_repeats(draft: Draft, request: AgentRequest) -> None:
    """Opens the case of an action that was blocked so often in a time."""
    for trigger in draft.law.repeated_triggers if draft.law else ():
        assert trigger.repeated is not None
        since = draft.now - trigger.repeated.within_s * SECOND
        blocks = [
            judged
            for judged in draft.get("judged")
            if judged.action == request.action and judged.verdict is Verdict.BLOCK and judged.at > since
        ]
        if len(blocks) >= trigger.repeated.blocks:
            _open_trigger(draft, trigger, request.conversation_id)


def open_for_facts(draft: Draft, dirty: set[str]) -> None:
    """Opens the cases that changed facts call for."""
    for name in sorted(dirty) if draft.law else ():
        fact = draft.facts.get(name)
        assert draft.law is not None
        for trigger in draft.law.triggers_of_fact(name, fact.value) if fact else ():
            conversation_id = name.partition("/")[2] if name.startswith(CONVERSATION) else ""
            _open_trigger(draft, trigger, ConversationId(conversation_id) or None)


def open_for_defer(draft: Draft, deferral: Deferral) -> None:
    """Opens the case that a defer becomes at its deadline."""
    cause = f"defer_expired_{deferral.request.action}"
    message = f"{deferral.request.action} waited in vain and needs a person."
    _open(draft, cause, (deferral.request.action,), DEFER_CASE_S, message, deferral.request.conversation_id)


def _open_trigger(draft: Draft, trigger: Trigger, conversation_id: ConversationId | None) -> None:
    _open(draft, trigger.cause, trigger.suspends, trigger.deadline_s, trigger.message, conversation_id)


def _open(
    draft: Draft, cause: str, suspended: tuple[str, ...], deadline_s: int, message: str,
    conversation_id: ConversationId | None,
) -> None:  # fmt: skip
    if any(case.cause == cause for case in draft.get("cases")):
        return
    case = OpenCase(
        case_id=draft.derive("case", cause), cause=cause, status=CaseStatus.OPEN, conversation_id=conversation_id,
        suspended=suspended, opened_at=draft.now, deadline=draft.now + deadline_s * SECOND, message=message,
    )  # fmt: skip
    draft.add("cases", case)
    draft.set_fact(f"case.{cause}", CaseStatus.OPEN)
    _suspend(draft)
    _publish(draft, case, None)


def change(draft: Draft, case_id: str, status: CaseStatus, author: str | None) -> bool:
    """A case is acknowledged, resolved or expired; False when there is no such case.

    A resolved case is closed and frees what it suspended, with the facts that opened it. An expired case may still be
    resolved; an acknowledgement after its deadline does not make it young again.
    """
    case = next((case for case in draft.get("cases") if case.case_id == case_id), None)
    if case is None:
        return False
    if case.status is CaseStatus.EXPIRED and status is CaseStatus.ACKNOWLEDGED:
        status = CaseStatus.EXPIRED
    changed = msgspec.structs.replace(case, status=status)
    cases = tuple(changed if other.case_id == case_id else other for other in draft.get("cases"))
    if status is CaseStatus.RESOLVED:
        draft.put("cases", tuple(other for other in cases if other.case_id != case_id))
        draft.drop_fact(f"case.{case.cause}")
        _forget_causes(draft, case)
    else:
        draft.put("cases", cases)
        draft.set_fact(f"case.{case.cause}", status)
    _suspend(draft)
    _publish(draft, changed, author)
    return True


def _forget_causes(draft: Draft, case: OpenCase) -> None:
    """What a person has dealt with opens no case again and locks nothing."""
    trigger = draft.law.trigger_of_cause(case.cause) if draft.law else None
    for condition in trigger.facts if trigger else ():
        for name in [n for n in draft.facts if is_named(n, condition.fact)]:
            if draft.facts[name].value in condition.values:
                draft.drop_stored(name)
    for name in [n for n in draft.facts if n.startswith("execution.locked/")]:
        if draft.facts[name].value == case.cause:
            draft.drop_stored(name)


def expire_due(draft: Draft) -> None:
    """Cases whose deadline has come."""
    for case in draft.get("cases"):
        if case.deadline <= draft.now and case.status is not CaseStatus.EXPIRED:
            change(draft, case.case_id, CaseStatus.EXPIRED, None)


def _suspend(draft: Draft) -> None:
    """Facts `suspended.<action>` follow the open cases."""
    by_action: dict[str, list[str]] = {}
    for case in draft.get("cases"):
        for action in case.suspended:
            by_action.setdefault(action, []).append(case.cause)
    for name in [
        n for n in draft.facts if n.startswith("suspended.") and n.removeprefix("suspended.") not in by_action
    ]:
        draft.drop_fact(name)
    for action in sorted(by_action):
        draft.set_fact(f"suspended.{action}", ",".join(sorted(by_action[action])))


def _publish(draft: Draft, case: OpenCase, author: str | None) -> None:
    record = EscalationCase(
        case_id=case.case_id, lead_id=draft.base.lead_id, conversation_id=case.conversation_id, cause=case.cause,
        status=case.status, suspended=case.suspended, message=case.message, opened_at=case.opened_at,
        deadline=case.deadline, author=author, position=draft.position, at=draft.now,
    )  # fmt: skip
    # One entry may change a case twice: its time was over, and then the person whom the entry is about came.
    draft.emit(draft.derive("case-change", case.case_id, case.status, author or ""), record)
