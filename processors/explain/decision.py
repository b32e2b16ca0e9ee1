"""Explains a decision: from the decision, its lead's journal folded again, and the policy that judged.

What the journal at hand does not give is said so and taken from the decision itself.
"""

from collections.abc import Iterator, Mapping, Sequence

from processors.explain.notes import (
    AnswerNote,
    Calendar,
    CriterionNote,
    DeferNote,
    Explanation,
    FactNote,
    GrantNote,
    OverrideNote,
    PolicyNote,
    ReasonNote,
    Words,
)
from processors.explain.refold import Comparison, Refold, claims_of, describe, evidence_of, shortcomings
from processors.explain.remedies import Remedy, Scene, remedy
from processors.law import Law, compile_law
from processors.policy import PolicyError, Rule
from schemas.records import (
    Decision,
    FactRef,
    PermissionStatus,
    Reason,
    ReasonCode,
    Verdict,
)

Texts = Mapping[ReasonCode, tuple[str, str]]
"""Meaning and advice of each reason code."""


def explain(
    decision: Decision, refold: Refold, texts: Texts, comparison: Comparison, *,
    answers: Sequence[Decision] = (), caveats: Sequence[str] = (),
) -> Explanation:  # fmt: skip
    """Explains a decision.

    refold: of the decision's journal partition, as far as it could be read. comparison: of the decision with what
    the refold gave. answers: decisions on the same request that are known beside those of the refold. caveats: what
    the reader of the journal has to say.
    """
    notes = (*caveats, *shortcomings(refold, comparison))
    return _Author(decision, refold, texts).write((*refold.decisions, *answers), notes, comparison)


class _Author:
    """Writes the explanation of one decision."""

    def __init__(self, decision: Decision, refold: Refold, texts: Texts) -> None:
        self.decision = decision
        self.refold = refold
        self.texts = texts
        # Facts of a refold that gives another decision are not the ones that this decision rested on.
        again = refold.again(decision)
        self.trusted = again is not None and again.read_set == decision.read_set
        self.state = refold.after if self.trusted else None
        self.request = refold.request_of(decision)
        self.law = self._law()
        self.calendar = Calendar(self._zones())

    def _law(self) -> Law | None:
        for _, activation in reversed(self.refold.activations):
            if activation.digest == self.decision.policy_digest:
                try:
                    return compile_law(activation.bundle, activation.digest)
                except PolicyError:
                    return None
        return None

    def _zones(self) -> str:
        fact = self.state.facts.get("lead.time_zones") if self.state else None
        read = next((ref.value for ref in self.decision.read_set if ref.name == "lead.time_zones"), "")
        return fact.value if fact else read

    def write(self, answers: Sequence[Decision], caveats: tuple[str, ...], rederived: Comparison) -> Explanation:
        decision, when = self.decision, self.calendar.moment
        action = self.law.bundle.actions.get(decision.action) if self.law else None
        return Explanation(
            decision_id=decision.decision_id, request_id=decision.request_id, lead_id=decision.lead_id,
            conversation_id=decision.conversation_id, agent_id=decision.agent_id, role=decision.role,
            action=decision.action, action_title=action.title if action else None, channel=decision.channel.value,
            verdict=decision.verdict.value, requested_at=when(decision.requested_at), at=when(decision.at),
            partition=decision.position.partition, offset=decision.position.offset, asked=self._asked(),
            criteria=tuple(
                CriterionNote(
                    name=c.name.value, verdict=c.verdict.value, reasons=tuple(map(self._reason, c.reasons)),
                    held=self._held(c.name, {reason.rule_id for reason in c.reasons}),
                )
                for c in decision.criteria
            ),
            override=self._override(), rests_on=self._rests_on(), changes=self._changes(), defer=self._defer(),
            grant=self._grant(), obligations=self._obligations(), speech_mode=decision.speech_mode.value,
            max_tokens=decision.max_tokens, prompt_scope=decision.prompt_scope, policy=self._policy(),
            answers=self._answers(answers), caveats=caveats, rederived=rederived,
        )  # fmt: skip

    # --- what was asked
    def _asked(self) -> dict[str, str | int | bool]:
        request = self.request
        if request is None:
            return {}
        tool: dict[str, str | int | bool] = {"tool": request.tool} if request.tool else {}
        return tool | dict(request.parameters) | {f"crm.{name}": v for name, v in request.crm_fields.items()}

    def _answers(self, answers: Sequence[Decision]) -> tuple[AnswerNote, ...]:
        others = {
            other.decision_id: other
            for other in answers
            if other.request_id == self.decision.request_id and other.decision_id != self.decision.decision_id
        }
        return tuple(
            AnswerNote(decision_id=o.decision_id, verdict=o.verdict.value, at=self.calendar.moment(o.at))
            for o in sorted(others.values(), key=lambda other: other.position.offset)
        )

    # --- criteria
    def _rule(self, rule_id: str) -> Rule | None:
        return next((rule for rule in self.law.bundle.rules if rule.id == rule_id), None) if self.law else None

    def _held(self, criterion: str, failed: set[str]) -> tuple[str, ...]:
        reasons = [reason for c in self.decision.criteria for reason in c.reasons]
        if self.law is None or any(reason.rule_id.startswith("built-in-") for reason in reasons):
            return ()  # answered without asking the rules
        rules = self.law.rules_for(self.decision.action, self.decision.role, self.decision.at)
        return tuple(rule.id for rule in rules if rule.criterion == criterion and rule.id not in failed)

    def _reason(self, reason: Reason) -> ReasonNote:
        rule = self._rule(reason.rule_id)
        meaning, advice = self.texts.get(reason.code, ("A code without a text.", ""))
        cure = self._remedy(reason, rule)
        return ReasonNote(
            code=reason.code.value, meaning=meaning, advice=advice, rule_id=reason.rule_id,
            title=rule.title if rule else None, severity=rule.severity if rule else None, source=self._source(rule),
            message=reason.message, facts=tuple(map(self._fact, reason.facts)), would_hold_when=cure.demands,
            stood_in_the_way=cure.stood,
        )  # fmt: skip

    def _source(self, rule: Rule | None) -> str:
        """A rule's source; where that is a regulation of the bundle, the regulation's own."""
        if rule is None or self.law is None:
            return ""
        row = self.law.bundle.regulations.get(rule.source)
        return f"{row.title}: {row.source} ({row.note})" if row else rule.source

    def _remedy(self, reason: Reason, rule: Rule | None) -> Remedy:
        found = Remedy()
        if reason.code is ReasonCode.DEFER_EXPIRED:
            found = self._waited_for()
        elif reason.code is ReasonCode.RULE_ERROR:
            found = Remedy(("the rule can be evaluated: it failed while it ran",))
        elif rule is not None and self.law is not None:
            scene = Scene(self.decision, self.request, self.state, self.law.bundle, self.calendar.tell)
            found = remedy(rule, scene)
        if reason.until is None:
            return found
        return found._replace(stood=(*found.stood, f"this reason stands until {self.calendar.tell(reason.until)}"))

    def _waited_for(self) -> Remedy:
        """What the defer that ended in vain had waited for."""
        waits = self.decision.defer
        first = next(
            (d for d in self.refold.decisions if waits and d.defer and d.verdict is Verdict.DEFER
             and d.defer.defer_id == waits.defer_id), None,
        )  # fmt: skip
        reasons = [reason for c in first.criteria for reason in c.reasons] if first else []
        found = [self._remedy(reason, self._rule(reason.rule_id)) for reason in reasons]
        return Remedy(tuple(d for f in found for d in f.demands), tuple(s for f in found for s in f.stood))

    def _obligations(self) -> dict[str, str]:
        known = self.law.bundle.obligations if self.law else {}
        return {name: known[name].title if name in known else "" for name in self.decision.obligations}

    def _override(self) -> OverrideNote | None:
        used = self.decision.override
        if used is None:
            return None
        return OverrideNote(
            override_id=used.override_id, author=used.author, author_role=used.author_role, reason=used.reason,
            before=used.before.value, lifted=tuple(map(self._reason, used.lifted)),
        )  # fmt: skip

    # --- facts
    def _fact(self, ref: FactRef) -> FactNote:
        fact = self.refold.fact(ref) if self.trusted else None
        entry = self.refold.entries.get(ref.offset)
        evidence = (fact.evidence if fact else ()) or (evidence_of(entry) if entry else ())
        is_set = ref.version > 0
        return FactNote(
            name=ref.name, value=ref.value if is_set else None, final=ref.final, version=ref.version,
            offset=ref.offset, confidence=fact.confidence if fact else None,
            set_by=describe(entry) if entry and is_set else None,
            set_at=self.calendar.moment(entry.at) if entry and is_set else None,
            words=tuple(self._words(segment) for segment in evidence) if is_set else (),
        )  # fmt: skip

    def _words(self, segment_id: str) -> Words:
        heard = self.refold.heard.get(segment_id)
        if heard is None:
            return Words(segment_id=segment_id, speaker="", status="", text=None, said_at=None)
        return Words(
            segment_id=segment_id, speaker=heard.speaker.value, status=heard.status.value, text=heard.text,
            said_at=self.calendar.moment(heard.said_at),
        )  # fmt: skip

    def _rests_on(self) -> tuple[FactNote, ...]:
        """Facts that a permit's grant rests on: as they stood once it was given, which is what its revocation asks."""
        if self.decision.verdict is not Verdict.PERMIT:
            return ()
        grants = self.state.permissions if self.state else ()
        given = next((p for p in grants if p.grant_id == self.decision.grant_id), None)
        held = given.read_set if given and given.status is PermissionStatus.GRANTED else ()
        return tuple(map(self._fact, held or self.decision.read_set))

    # --- what would change it
    def _changes(self) -> tuple[str, ...]:
        if self.decision.verdict is Verdict.PERMIT:
            return self._permit_changes()
        if self.decision.verdict is Verdict.DEFER and self.decision.defer is not None:
            return self._defer_changes()
        blocking = [c.name.value for c in self.decision.criteria if c.verdict is Verdict.BLOCK]
        return (
            f"This answer is final for this request. It is BLOCK because of: {', '.join(blocking)}.",
            "A new request can pass once all that is said above holds.",
            *self._override_chances(),
        )

    def _override_chances(self) -> Iterator[str]:
        """Whether a person may let the request pass."""
        if self.law is None:
            return
        reasons = [reason for c in self.decision.criteria for reason in c.reasons]
        fixed = [r.rule_id for r in reasons if (rule := self._rule(r.rule_id)) is None or not rule.overridable]
        if fixed:
            yield f"No person's override lifts {', '.join(fixed)}."
            return
        people = [
            f"{name} ({person.role})"
            for name, person in self.law.bundle.people.items()
            if not {self.decision.action, "*"}.isdisjoint(person.may_override)
        ]
        able = ", ".join(people) or "nobody: the policy names no one"
        yield f"A signed override lifts it, for one request, by {able}."

    def _permit_changes(self) -> tuple[str, ...]:
        expires = self.decision.expires_at
        found = [f"The grant expires {self.calendar.tell(expires)}."] if expires is not None else []
        if self.decision.single_use:
            found.append("It is used up by the first effect.")
        return (*found, "Until then it is revoked when one of the facts it rests on changes, or by a cut-off.")

    def _defer_changes(self) -> tuple[str, ...]:
        terms, tell = self.decision.defer, self.calendar.tell
        assert terms is not None
        found = []
        if terms.resume_when:
            found.append(f"It is judged again when one of these changes: {', '.join(terms.resume_when)}.")
        if terms.not_before is not None:
            found.append(f"It is judged again at {tell(terms.not_before)}.")
        end = "BLOCK, and a case for a person" if terms.on_deadline.value == "ESCALATE" else "BLOCK"
        return (*found, f"If it still waits at {tell(terms.deadline)}, it becomes {end}; never a permit.")

    # --- terms
    def _defer(self) -> DeferNote | None:
        terms, when = self.decision.defer, self.calendar
        if terms is None:
            return None
        return DeferNote(
            defer_id=terms.defer_id, resume_when=terms.resume_when, not_before=when.maybe(terms.not_before),
            deadline=when.moment(terms.deadline), on_deadline=terms.on_deadline.value,
        )  # fmt: skip

    def _grant(self) -> GrantNote | None:
        decision = self.decision
        if decision.grant_id is None:
            return None
        return GrantNote(
            grant_id=decision.grant_id, expires_at=self.calendar.maybe(decision.expires_at),
            single_use=decision.single_use, claims=claims_of(decision.grant) if decision.grant else {},
        )  # fmt: skip

    def _policy(self) -> PolicyNote:
        version, digest = self.decision.policy_version, self.decision.policy_digest
        found = next(((at, a) for at, a in reversed(self.refold.activations) if a.digest == digest), None)
        if found is None:
            return PolicyNote(version=version, digest=digest)
        at, activation = found
        return PolicyNote(
            version=version, digest=digest, title=self.law.bundle.title if self.law else None,
            revision=activation.revision, approved_by=activation.approved_by, since=self.calendar.moment(at),
        )  # fmt: skip
