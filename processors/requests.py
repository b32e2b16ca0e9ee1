"""The life of a request: heard once, answered, perhaps deferred, judged again, and always ended."""

import msgspec

from processors import escalation, grants, identity, overrides, refusals
from processors.answers import answer, permit
from processors.draft import Draft
from processors.hearing import Situation
from processors.ids import short_digest
from processors.judge import Judgement, judge, refuse
from processors.lead import MAX_DEFERRALS, MAX_GRANTS, MAX_WAITING_BYTES, OPEN_BYTES, SECOND
from schemas.records import (
    AgentId,
    AgentRequest,
    DeferEnd,
    Deferral,
    DeferTerms,
    DirectiveType,
    Judged,
    Permission,
    ReasonCode,
    Verdict,
)


def hear(draft: Draft, request: AgentRequest) -> None:
    """A request arrives. A repeat of one that was answered changes nothing: the answer is on the log."""
    digest = _digest(draft, request)
    known = next((j for j in draft.get("judged") if j.request_id == request.request_id), None)
    if known is not None and known.digest == digest:
        return
    if _turned_away(draft, request):
        return
    if known is not None:
        message = "Another request was already answered under this request_id: choose a new one."
        answer(draft, request, refuse(ReasonCode.REQUEST_CONFLICT, message), None)
        return
    judgement = _too_late(draft, request) or _judge(draft, request, draft.now)
    _note(draft, request, digest, judgement.verdict)
    if judgement.verdict is Verdict.DEFER and judgement.wait is not None:
        defer = msgspec.structs.replace(judgement.wait, defer_id=draft.derive("defer", request.request_id))
        _wait(draft, request, defer)
        _ask_for_silence(draft, request, judgement)
        answer(draft, request, judgement, defer)
    else:
        _conclude(draft, request, judgement, None)


def _turned_away(draft: Draft, request: AgentRequest) -> bool:
    """A request whose agent is not proven is answered and leaves no trace: its id stays free for the agent itself.

    As it is not among those that were judged, it counts for no trigger, and no person can override it.
    """
    why = identity.unproven(request, draft.law)
    if why is None:
        return False
    judgement = refuse(ReasonCode.IDENTITY_UNPROVEN, f"Nothing shows that the agent is who it says: {why}.")
    answer(draft, request, judgement, None)
    escalation.open_for_codes(draft, judgement.codes, request.conversation_id)
    return True


def _digest(draft: Draft, request: AgentRequest) -> int:
    """Digest of who asks for exactly what, where."""
    return short_digest(
        request.agent_id, request.role, request.action, request.conversation_id or "", request.channel,
        grants.request_digest(draft, request), request.text or "", request.prompt_scope or "", request.max_tokens or 0,
    )  # fmt: skip


def _too_late(draft: Draft, request: AgentRequest) -> Judgement | None:
    """The answer to a request that can't be answered in time any more: the rules are not asked.

    What the entry waits for control counts as passed, by intake's measure: docs/decisions/overload.md.
    """
    behind = draft.entry.behind_us
    answered = draft.now + behind
    max_age_s = draft.law.bundle.limits.request_max_age_s if draft.law else None
    is_old = max_age_s is not None and request.requested_at < answered - max_age_s * SECOND
    if not is_old and (request.deadline is None or request.deadline > answered):
        return None
    message = "Its time was over when it came."
    if behind:
        message = f"Its time is over before it is answered: control is {behind / SECOND:.1f} s behind."
    return refuse(ReasonCode.TOO_LATE, message)


def _judge(draft: Draft, request: AgentRequest, first_heard_at: int, deadline: int | None = None) -> Judgement:
    spent = _spent(draft, request)
    if spent is not None:
        return spent
    override = overrides.pending(draft, _digest(draft, request)) if draft.get("overrides") else None
    situation = Situation(draft.facts, draft.get("attempts"), draft.now, draft.law)
    judgement = judge(request, situation, first_heard_at, deadline, override)
    return _within_bounds(draft, request, judgement, is_waiting=deadline is not None)


def _spent(draft: Draft, request: AgentRequest) -> Judgement | None:
    """The answer to an effect that was refused and asked for too often: it is not judged again."""
    action = draft.law.bundle.actions.get(request.action) if draft.law else None
    if action is None or draft.law is None:
        return None
    refusal = refusals.exhausted(draft, action.effect, draft.law.bundle.limits.refusal_retries)
    if refusal is None:
        return None
    message = f"The {refusal.by} refused this effect and it was asked for {refusal.count} times since."
    facts = (draft.ref(f"refused.{action.effect}"),)
    return refuse(ReasonCode.RETRIES_EXHAUSTED, message, facts, refusal.until)


def _within_bounds(draft: Draft, request: AgentRequest, judgement: Judgement, *, is_waiting: bool) -> Judgement:
    """What a lead can't hold any more is refused: rows have a size."""
    if judgement.verdict is Verdict.PERMIT:
        held = grants.in_force(draft)
        if len(held) >= MAX_GRANTS or _open_bytes(draft, held) > OPEN_BYTES:
            message = f"{len(held)} grants are in force for this lead: use them, or let them expire."
            return refuse(ReasonCode.TOO_MANY_OPEN, message)
    if judgement.verdict is Verdict.DEFER and not is_waiting:
        waiting = len(draft.get("deferrals"))
        if waiting >= MAX_DEFERRALS or _open_bytes(draft, grants.in_force(draft)) > OPEN_BYTES:
            message = f"{waiting} requests are waiting for this lead already."
            return refuse(ReasonCode.TOO_MANY_OPEN, message)
        if len(msgspec.msgpack.encode(request)) > MAX_WAITING_BYTES:
            message = f"A request of more than {MAX_WAITING_BYTES} bytes can't wait: send less in it."
            return refuse(ReasonCode.PARAMETER_INVALID, message)
    return judgement


def _open_bytes(draft: Draft, held: tuple[Permission, ...]) -> int:
    """What the row must keep of grants and waiting requests; not looked at while there are few."""
    waiting = draft.get("deferrals")
    return len(msgspec.msgpack.encode((held, waiting))) if len(held) + len(waiting) > 2 else 0


def _note(draft: Draft, request: AgentRequest, digest: int, verdict: Verdict) -> None:
    draft.add(
        "judged",
        Judged(request_id=request.request_id, digest=digest, verdict=verdict, action=request.action, at=draft.now),
    )


def _note_end(draft: Draft, request: AgentRequest, verdict: Verdict) -> None:
    """A request that waited has its last answer."""
    draft.put(
        "judged",
        tuple(
            msgspec.structs.replace(j, verdict=verdict, at=draft.now) if j.request_id == request.request_id else j
            for j in draft.get("judged")
        ),
    )


def _wait(draft: Draft, request: AgentRequest, defer: DeferTerms) -> None:
    draft.add(
        "deferrals",
        Deferral(
            defer_id=defer.defer_id, request=request, resume_when=defer.resume_when, not_before=defer.not_before,
            deadline=defer.deadline, on_deadline=defer.on_deadline, deferred_at=draft.now,
            traceparent=draft.entry.traceparent, proven_under=_revision(draft),
        ),
    )  # fmt: skip


def _revision(draft: Draft) -> int:
    return draft.law.revision if draft.law else 0


def _ask_for_silence(draft: Draft, request: AgentRequest, judgement: Judgement) -> None:
    """Somebody waits for the agent before to end: that agent is told, once."""
    outgoing = draft.value("conversation.outgoing", request.conversation_id)
    is_told = draft.value("conversation.awaited", request.conversation_id) or outgoing == request.agent_id
    if ReasonCode.AGENT_SPEAKING in judgement.codes and not is_told:
        draft.set_fact("conversation.awaited", "yes", conversation_id=request.conversation_id)
        draft.direct(
            DirectiveType.HOLD, ReasonCode.FLOOR_PASSED, f"{request.agent_id} waits for the lead: be silent.",
            conversation_id=request.conversation_id, agent_id=AgentId(outgoing),
        )  # fmt: skip


def judge_again(draft: Draft, dirty: set[str]) -> None:
    """Judges the waiting requests that named one of the changed facts, in fair order."""
    named = [d for d in draft.get("deferrals") if not dirty.isdisjoint(d.resume_when)]
    for deferral in _in_fair_order(draft, named):
        if deferral in draft.get("deferrals"):
            _judge_deferral(draft, deferral)


def _in_fair_order(draft: Draft, waiting: list[Deferral]) -> list[Deferral]:
    """The later stage first, then who asked first; who waited longer than the policy's bound before everybody."""
    law = draft.law
    if law is None or len(waiting) < 2:
        return waiting
    fair_wait = law.bundle.limits.fair_wait_s * SECOND

    def rank(deferral: Deferral) -> tuple[bool, int, int, str]:
        action = law.bundle.actions.get(deferral.request.action)
        stage = law.stage_rank[action.stage] if action else 0
        is_young = deferral.deferred_at + fair_wait > draft.now
        return (is_young, -stage if is_young else 0, deferral.request.requested_at, deferral.request.request_id)

    return sorted(waiting, key=rank)


def judge_due(draft: Draft) -> None:
    """Judges or ends the waiting requests whose time has come."""
    due = [d for d in draft.get("deferrals") if d.deadline <= draft.now]
    for deferral in due:
        _expire(draft, deferral)
    early = [d for d in draft.get("deferrals") if d.not_before is not None and d.not_before <= draft.now]
    for deferral in _in_fair_order(draft, early):
        if deferral in draft.get("deferrals"):
            _judge_deferral(draft, deferral)


def _judge_deferral(draft: Draft, deferral: Deferral) -> None:
    # A signature is verified once; another policy may know other agents and keys.
    why = identity.unproven(deferral.request, draft.law) if deferral.proven_under != _revision(draft) else None
    if why is not None:
        _end(draft, deferral, refuse(ReasonCode.IDENTITY_UNPROVEN, f"By the policy now in force {why}."))
        return
    judgement = _judge(draft, deferral.request, deferral.deferred_at, deferral.deadline)
    if judgement.verdict is Verdict.DEFER and judgement.wait is not None:
        again = msgspec.structs.replace(
            deferral, resume_when=judgement.wait.resume_when, not_before=judgement.wait.not_before,
            proven_under=_revision(draft),
        )  # fmt: skip
        draft.put("deferrals", tuple(again if d is deferral else d for d in draft.get("deferrals")))
        _ask_for_silence(draft, deferral.request, judgement)
        return
    _end(draft, deferral, judgement)


def _end(draft: Draft, deferral: Deferral, judgement: Judgement) -> None:
    """The last answer to a waiting request, under the same defer_id."""
    draft.put("deferrals", tuple(d for d in draft.get("deferrals") if d.defer_id != deferral.defer_id))
    _note_end(draft, deferral.request, judgement.verdict)
    _conclude(draft, deferral.request, judgement, deferral)


def _expire(draft: Draft, deferral: Deferral) -> None:
    """The deadline: BLOCK, with or without a case for a person, whatever a judgement would say by now."""
    message = "What the request waited for did not happen in time."
    facts = tuple(draft.ref(name) for name in deferral.resume_when)
    _end(draft, deferral, refuse(ReasonCode.DEFER_EXPIRED, message, facts))
    if deferral.on_deadline is DeferEnd.ESCALATE:
        escalation.open_for_defer(draft, deferral)


def end_for_conversation(draft: Draft, deferral: Deferral) -> None:
    """The conversation that a waiting request belongs to is over."""
    message = "The conversation ended."
    _end(draft, deferral, refuse(ReasonCode.CONVERSATION_ENDED, message))


def cancel(draft: Draft, deferral: Deferral) -> None:
    """The agent does not want it any more."""
    message = "The agent withdrew the request."
    _end(draft, deferral, refuse(ReasonCode.REQUEST_CANCELLED, message))


def _conclude(draft: Draft, request: AgentRequest, judgement: Judgement, deferral: Deferral | None) -> None:
    terms = _terms_of(deferral) if deferral else None
    if judgement.verdict is Verdict.PERMIT:
        if judgement.override is not None:
            overrides.use(draft, judgement.override)
        permit(draft, request, judgement, terms)
        return
    answer(draft, request, judgement, terms)
    _remember(draft, request, judgement)
    escalation.open_for_codes(draft, judgement.codes, request.conversation_id)
    escalation.open_for_repeats(draft, request)


def _remember(draft: Draft, request: AgentRequest, judgement: Judgement) -> None:
    """A no of policy that binds the effect, and the count of those who ask for what is refused."""
    assert draft.law is not None or not judgement.binding  # only rules bind
    action = draft.law.bundle.actions.get(request.action) if draft.law else None
    if action is None:
        return
    if judgement.codes & {ReasonCode.EFFECT_REFUSED, ReasonCode.RETRIES_EXHAUSTED}:
        refusals.draw_down(draft, action.effect)
    for binding in judgement.binding:
        until = binding.until if binding.until is not None else draft.now + (binding.rule.binds_s or 0) * SECOND
        refusals.bar(draft, action.effect, "policy", binding.code, until=until, reason=binding.rule.message)


def _terms_of(deferral: Deferral) -> DeferTerms:
    return DeferTerms(
        defer_id=deferral.defer_id, resume_when=deferral.resume_when, not_before=deferral.not_before,
        deadline=deferral.deadline, on_deadline=deferral.on_deadline,
    )  # fmt: skip
