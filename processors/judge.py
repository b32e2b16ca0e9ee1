"""The verdict on one request: every rule answers, then one place concludes.

All three criteria are judged on every request. BLOCK over DEFER over PERMIT; no policy, an unknown role or action is
BLOCK; a rule that errs can only restrain.
"""

from typing import NamedTuple

from processors.checks import CHECKS
from processors.hearing import Finding, Hearing
from processors.law import Law
from processors.policy import Rule
from schemas.records import (
    AgentRequest,
    Attempt,
    Criterion,
    CriterionName,
    DeferEnd,
    DeferTerms,
    Fact,
    FactRef,
    Reason,
    ReasonCode,
    TimeUs,
    Verdict,
)

_SEVERITY = {Verdict.PERMIT: 0, Verdict.DEFER: 1, Verdict.BLOCK: 2}


class Judgement(NamedTuple):
    """A verdict with everything that it rests on.

    wait: terms of a DEFER, without its id.
    """

    verdict: Verdict
    criteria: tuple[Criterion, ...]
    read_set: tuple[FactRef, ...]
    wait: DeferTerms | None = None

    @property
    def codes(self) -> set[ReasonCode]:
        """Codes of all reasons."""
        return {reason.code for criterion in self.criteria for reason in criterion.reasons}


def refuse(criterion: CriterionName, code: ReasonCode, message: str, facts: tuple[FactRef, ...] = ()) -> Judgement:
    """A BLOCK for a reason that needs no rule of the bundle."""
    reason = Reason(code=code, rule_id=f"built-in-{code.lower().replace('_', '-')}", message=message, facts=facts)
    criteria = tuple(
        Criterion(
            name=name,
            verdict=Verdict.BLOCK if name is criterion else Verdict.PERMIT,
            reasons=(reason,) if name is criterion else (),
        )
        for name in CriterionName
    )
    return Judgement(Verdict.BLOCK, criteria, facts)


def judge(
    request: AgentRequest, attempts: tuple[Attempt, ...], facts: dict[str, Fact], now: TimeUs, law: Law | None,
    first_heard_at: TimeUs, defer_deadline: TimeUs | None = None,
) -> Judgement:  # fmt: skip
    """Judges a request on a state at a time.

    attempts: to reach the lead; facts: its facts, both as they stand now. defer_deadline: of a request that
    waits already; it is never moved.
    """
    if law is None:
        return refuse(CriterionName.GOVERNANCE, ReasonCode.NO_POLICY, "No approved policy is in force.")
    if request.action not in law.bundle.actions:
        return refuse(CriterionName.ROLE, ReasonCode.UNKNOWN_ACTION, f"The policy knows no action {request.action!r}.")
    if request.role not in law.bundle.roles or request.role == "mandate":
        return refuse(CriterionName.ROLE, ReasonCode.UNKNOWN_ROLE, f"The policy knows no role {request.role!r}.")
    hearing = Hearing(request, attempts, facts, now, law, first_heard_at)
    findings = [
        finding for rule in law.rules_for(request.action, request.role) if (finding := _ask(hearing, rule)) is not None
    ]
    return _conclude(hearing, findings, defer_deadline)


def _ask(hearing: Hearing, rule: Rule) -> Finding | None:
    try:
        failure = CHECKS[rule.check.kind](hearing, rule.check)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return Finding(rule, Verdict.BLOCK, ReasonCode.RULE_ERROR, hearing.take_read())
    read = hearing.take_read()
    if failure is None:
        return None
    resume = tuple(reference.name for reference in read) + rule.resume_when
    return Finding(
        rule, failure.verdict or rule.on_fail, failure.code or rule.code, read, resume, failure.not_before
    )  # fmt: skip


def _conclude(hearing: Hearing, findings: list[Finding], defer_deadline: TimeUs | None) -> Judgement:
    worst = max((finding.verdict for finding in findings), key=_SEVERITY.__getitem__, default=Verdict.PERMIT)
    wait = None
    if worst is Verdict.DEFER:
        wait = _terms(hearing, findings, defer_deadline)
        if wait.not_before is not None and wait.not_before >= wait.deadline:
            # It could not be cured in time: waiting would only end in the same BLOCK.
            findings = [f._replace(verdict=Verdict.BLOCK) if f.not_before else f for f in findings]
            worst, wait = Verdict.BLOCK, None
    return Judgement(worst, _criteria(findings), tuple(hearing.read_set.values()), wait)


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
        resume_when=tuple(dict.fromkeys(curing + worsening)),
        not_before=max((f.not_before for f in findings if f.not_before is not None), default=None),
        deadline=defer_deadline if defer_deadline is not None else min(limits),
        on_deadline=DeferEnd.ESCALATE if ends_with else DeferEnd.BLOCK,
    )  # fmt: skip


# Facts that can end a defer with a BLOCK at once, so that nobody waits in vain.
_WORSENING = ("do_not_contact", "paused", "conversation.phase/")


def _criteria(findings: list[Finding]) -> tuple[Criterion, ...]:
    return tuple(_criterion(name, [f for f in findings if f.rule.criterion is name]) for name in CriterionName)


def _criterion(name: CriterionName, findings: list[Finding]) -> Criterion:
    verdict = max((finding.verdict for finding in findings), key=_SEVERITY.__getitem__, default=Verdict.PERMIT)
    reasons = tuple(
        Reason(code=f.code, rule_id=f.rule.id, message=f.rule.message, facts=f.facts) for f in findings
    )  # fmt: skip
    return Criterion(name=name, verdict=verdict, reasons=reasons)
