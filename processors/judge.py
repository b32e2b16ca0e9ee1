"""The verdict on one request: every rule answers, then one place concludes.

All three criteria are judged on every request. BLOCK over DEFER over PERMIT; no policy, an unknown role or action is
BLOCK; a rule that errs can only restrain.
"""

from typing import NamedTuple

from processors.hearing import Finding, Hearing, Situation
from processors.law import Law
from processors.plan import plan_of
from processors.policy import Rule
from schemas.records import (
    AgentRequest,
    Criterion,
    CriterionName,
    DeferEnd,
    DeferTerms,
    FactRef,
    Override,
    Reason,
    ReasonCode,
    TimeUs,
    Verdict,
)

_SEVERITY = {Verdict.PERMIT: 0, Verdict.DEFER: 1, Verdict.BLOCK: 2}
SYSTEM_ROLE = "mandate"
"""The role in which Mandate itself acts; nobody else may ask in it."""


class Binding(NamedTuple):
    """A no of policy that binds the effect. until: None = as long as the rule says from now."""

    rule: Rule
    code: ReasonCode
    until: TimeUs | None


class Judgement(NamedTuple):
    """A verdict with everything that it rests on.

    wait: terms of a DEFER, without its id. lifted: reasons that an override took away; before: the verdict with them;
    override: the one that did, None when nothing was lifted.
    """

    verdict: Verdict
    criteria: tuple[Criterion, ...]
    read_set: tuple[FactRef, ...]
    wait: DeferTerms | None = None
    lifted: tuple[Reason, ...] = ()
    before: Verdict = Verdict.PERMIT
    override: Override | None = None
    binding: tuple[Binding, ...] = ()

    @property
    def codes(self) -> set[ReasonCode]:
        """Codes of all reasons."""
        return {reason.code for criterion in self.criteria for reason in criterion.reasons}


def refuse(code: ReasonCode, message: str, facts: tuple[FactRef, ...] = (), until: TimeUs | None = None) -> Judgement:
    """A BLOCK without asking the rules. No criterion was judged, so none of them is a permit, all for this reason."""
    rule_id = f"built-in-{code.lower().replace('_', '-')}"
    reason = Reason(code=code, rule_id=rule_id, message=message, facts=facts, until=until)
    criteria = tuple(Criterion(name=name, verdict=Verdict.BLOCK, reasons=(reason,)) for name in CriterionName)
    return Judgement(Verdict.BLOCK, criteria, facts)


def judge(
    request: AgentRequest, situation: Situation, first_heard_at: TimeUs, defer_deadline: TimeUs | None = None,
    override: Override | None = None,
) -> Judgement:  # fmt: skip
    """Judges a request on a situation.

    defer_deadline: of a request that waits already; it is never moved. override: a person's, of exactly this
    request; it takes away what the policy marks as overridable and nothing else.
    """
    law = situation.law
    refusal = _refused_at_the_door(request, law)
    if refusal is not None or law is None:
        return refusal or refuse(ReasonCode.NO_POLICY, "No approved policy is in force.")
    hearing = Hearing(request, situation, law, first_heard_at)
    findings = plan_of(law, request.action, request.role, situation.now).findings(hearing)
    cut_off = law.bundle.cut_off
    if request.agent_id in cut_off.agents or request.role in cut_off.roles:
        return _cut_off(_conclude(hearing, findings, defer_deadline))
    if override is None:
        return _conclude(hearing, findings, defer_deadline)
    return _overridden(hearing, findings, defer_deadline, override)


def _refused_at_the_door(request: AgentRequest, law: Law | None) -> Judgement | None:
    if law is None:
        return None
    bundle = law.bundle
    if request.action not in bundle.actions:
        return refuse(ReasonCode.UNKNOWN_ACTION, f"The policy knows no action {request.action!r}.")
    if request.role not in bundle.roles or request.role == SYSTEM_ROLE:
        return refuse(ReasonCode.UNKNOWN_ROLE, f"The policy knows no role {request.role!r}.")
    return None


def _cut_off(judgement: Judgement) -> Judgement:
    """The same judgement with one more reason, which nothing lifts."""
    message = "The policy cuts this agent or role off."
    reason = Reason(code=ReasonCode.CUT_OFF, rule_id="built-in-cut-off", message=message)
    criteria = tuple(
        Criterion(name=c.name, verdict=Verdict.BLOCK, reasons=(reason, *c.reasons))
        if c.name is CriterionName.GOVERNANCE
        else c
        for c in judgement.criteria
    )
    return judgement._replace(verdict=Verdict.BLOCK, criteria=criteria, wait=None)


_NOT_LIFTED = (ReasonCode.RULE_ERROR, ReasonCode.PARAMETER_INVALID)
"""What no override takes away: nobody knows what a rule that erred, or an amount that is none, would have said."""


def _overridden(hearing: Hearing, findings: list[Finding], deadline: TimeUs | None, by: Override) -> Judgement:
    lifted = [finding for finding in findings if finding.rule.overridable and finding.code not in _NOT_LIFTED]
    before = _worst(findings)
    if not lifted:
        return _conclude(hearing, findings, deadline)
    hearing.rest_on_override(by)
    judgement = _conclude(hearing, [finding for finding in findings if finding not in lifted], deadline)
    return judgement._replace(lifted=tuple(_reason(finding) for finding in lifted), before=before, override=by)


def _worst(findings: list[Finding]) -> Verdict:
    return max((finding.verdict for finding in findings), key=_SEVERITY.__getitem__, default=Verdict.PERMIT)


def _conclude(hearing: Hearing, findings: list[Finding], defer_deadline: TimeUs | None) -> Judgement:
    worst = _worst(findings)
    wait = None
    if worst is Verdict.DEFER:
        wait = _terms(hearing, findings, defer_deadline)
        if wait.not_before is not None and wait.not_before >= wait.deadline:
            # It could not be cured in time: waiting would only end in the same BLOCK.
            findings = [f._replace(verdict=Verdict.BLOCK) if f.not_before else f for f in findings]
            worst, wait = Verdict.BLOCK, None
    binding = tuple(
        Binding(f.rule, f.code, f.not_before)
        for f in findings
        if f.rule.binds_s is not None and f.verdict is Verdict.BLOCK
    )
    return Judgement(worst, _criteria(findings), tuple(hearing.read_set.values()), wait, binding=binding)


def _terms(hearing: Hearing, findings: list[Finding], defer_deadline: TimeUs | None) -> DeferTerms:
    """What a DEFER waits for: any fact that may cure or worsen it, and until the earliest of the limits."""
    limits = [hearing.now + finding.rule.wait_s * 1_000_000 for finding in findings if finding.rule.wait_s is not None]
    if hearing.request.deadline is not None:
        limits.append(hearing.request.deadline)
    curing = [name for finding in findings for name in finding.resume_when]
    worsening = [name for name in hearing.read_set if name.startswith(_WORSENING)]
    ends_with = any(finding.rule.on_deadline is DeferEnd.ESCALATE for finding in findings)
    return DeferTerms(
        defer_id="",
        resume_when=tuple(dict.fromkeys([*curing, *worsening, f"override.{hearing.request.action}"])),
        not_before=max((f.not_before for f in findings if f.not_before is not None), default=None),
        deadline=defer_deadline if defer_deadline is not None else min(limits),
        on_deadline=DeferEnd.ESCALATE if ends_with else DeferEnd.BLOCK,
    )  # fmt: skip


# Facts that can end a defer with a BLOCK at once, so that nobody waits in vain.
_WORSENING = ("do_not_contact", "paused", "conversation.phase/", "refused.")


def _criteria(findings: list[Finding]) -> tuple[Criterion, ...]:
    return tuple(_criterion(name, [f for f in findings if f.rule.criterion is name]) for name in CriterionName)


def _criterion(name: CriterionName, findings: list[Finding]) -> Criterion:
    return Criterion(name=name, verdict=_worst(findings), reasons=tuple(_reason(finding) for finding in findings))


def _reason(finding: Finding) -> Reason:
    message = f"{finding.rule.message} ({finding.detail})" if finding.detail else finding.rule.message
    return Reason(
        code=finding.code, rule_id=finding.rule.id, message=message, facts=finding.facts, until=finding.not_before
    )
