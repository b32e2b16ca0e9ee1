"""Signals: claims about the buyer, turned into facts.

A positive signal confirms an intent only above its thresholds and on final words; until then the intent is merely
indicated. A restraining signal counts early: opt-out, objection, not now, a wish for a person.
"""

from processors import escalation, grants
from processors.draft import Draft
from processors.lead import SECOND
from processors.system import record_opt_out
from schemas.records import (
    Channel,
    ConversationId,
    DirectiveType,
    Fact,
    ReasonCode,
    Refusal,
    SegmentStatus,
    Signal,
    SignalType,
)

_SETTLED = (SegmentStatus.FINAL, SegmentStatus.CORRECTED)
_RESTRAINING = frozenset(
    {
        SignalType.OBJECTION_RAISED, SignalType.CONSENT_WITHDRAWN, SignalType.OPT_OUT, SignalType.NOT_NOW,
        SignalType.ASKS_FOR_HUMAN, SignalType.DISENGAGEMENT,
    }
)  # fmt: skip


def on_signal(draft: Draft, signal: Signal) -> None:
    """Folds one signal. Without a policy, which holds the thresholds, a signal says nothing but an opt-out."""
    if signal.type is SignalType.OPT_OUT and draft.law is None:
        opt_out(draft, "buyer", signal.evidence)
    if draft.law is None:
        return
    if signal.type in _RESTRAINING:
        if signal.confidence >= draft.law.bundle.signals.restrain_from:
            restrain(draft, signal.type, signal.subject, signal.conversation_id, signal.evidence)
    elif signal.type is SignalType.OBJECTION_RESOLVED:
        _resolve_objection(draft, signal)
    elif signal.type is SignalType.CONSENT_GIVEN:
        _consent(draft, signal)
    elif signal.type in draft.law.bundle.signals.intents:
        _intent(draft, signal)


# --- intents
def _intent(draft: Draft, signal: Signal) -> None:
    assert draft.law is not None
    name = f"intent.{draft.law.bundle.signals.intents[signal.type]}"
    old = draft.facts.get(name)
    if old and old.value == "confirmed" and old.final:
        return  # Carried: a repeat adds nothing, and a weaker claim takes nothing away.
    confirmed = _is_confirmed(draft, signal.type, signal.confidence, signal.evidence)
    paused = confirmed and draft.value("objection.open") and _intent_name(name) in _paused_by_objection(draft)
    draft.set_fact(
        name, "paused" if paused else "confirmed" if confirmed else "indicated", final=confirmed,
        confidence=signal.confidence, evidence=signal.evidence,
    )  # fmt: skip


def _intent_name(fact: str) -> str:
    return fact.removeprefix("intent.")


def _paused_by_objection(draft: Draft) -> tuple[str, ...]:
    return draft.law.bundle.signals.paused_by_objection if draft.law else ()


def _is_confirmed(draft: Draft, kind: SignalType, confidence: float, evidence: tuple[str, ...]) -> bool:
    """Above the thresholds, and on words that are all final."""
    assert draft.law is not None
    threshold = draft.law.threshold(kind)
    if confidence < threshold.min_confidence or not evidence:
        return False
    by_id = {segment.segment_id: segment for segment in draft.get("segments")}
    for segment_id in evidence:
        segment = by_id.get(segment_id)
        if segment is None or segment.status not in _SETTLED:
            return False
        if segment.confidence is None and not draft.law.bundle.signals.accept_unknown_asr_confidence:
            return False
        if segment.confidence is not None and segment.confidence < threshold.min_asr_confidence:
            return False
    return True


def evidence_settled(draft: Draft, segment_id: str) -> None:
    """A segment became final: intents that waited for it may be confirmed now."""
    if draft.law is None:
        return
    by_name = {f"intent.{intent}": signal for signal, intent in draft.law.bundle.signals.intents.items()}
    for name in [n for n in sorted(by_name) if n in draft.facts]:
        fact = draft.facts[name]
        waits = fact.value == "indicated" and segment_id in fact.evidence and fact.confidence is not None
        if waits and _is_confirmed(draft, by_name[name], fact.confidence or 0.0, fact.evidence):
            paused = draft.value("objection.open") and _intent_name(name) in _paused_by_objection(draft)
            draft.set_fact(
                name, "paused" if paused else "confirmed", confidence=fact.confidence, evidence=fact.evidence
            )  # fmt: skip
    _settle_others(draft, segment_id)


def _settle_others(draft: Draft, segment_id: str) -> None:
    """Objections that were addressed, and consent that was given, on words that are final now."""
    waiting = [(name, fact) for name, fact in draft.facts.items() if not fact.final and segment_id in fact.evidence]
    for name, fact in sorted(waiting, key=lambda item: item[0]):
        if fact.confidence is None:
            continue
        if name.startswith("objection.about."):
            if _is_confirmed(draft, SignalType.OBJECTION_RESOLVED, fact.confidence, fact.evidence):
                draft.set_fact(name, "resolved", confidence=fact.confidence, evidence=fact.evidence)
                _lift_objections(draft)
        elif name.startswith("consent.") and _is_confirmed(
            draft, SignalType.CONSENT_GIVEN, fact.confidence, fact.evidence
        ):
            draft.set_fact(name, "EXPRESS", confidence=fact.confidence, evidence=fact.evidence)


def evidence_changed(draft: Draft, segment_id: str, becomes: str) -> None:
    """Words that something rests on were corrected or withdrawn: positive facts fall, restraints stay."""
    for name in sorted(draft.facts):
        fact: Fact = draft.facts[name]
        if segment_id not in fact.evidence:
            continue
        if name.startswith("intent."):
            draft.set_fact(name, becomes, final=False, confidence=0.0, evidence=fact.evidence)
        elif name.startswith("consent.") and fact.value != "withdrawn":
            draft.drop_fact(name)
        elif name.startswith("objection.about.") and fact.value in ("addressed", "resolved"):
            _raise_objection(draft, name.removeprefix("objection.about."), fact.evidence)


# --- restraints
def restrain(
    draft: Draft, kind: SignalType, subject: str, conversation_id: ConversationId | None, evidence: tuple[str, ...]
) -> None:
    """What a restraining signal does."""
    if kind is SignalType.OPT_OUT:
        opt_out(draft, "buyer", evidence)
    elif kind is SignalType.OBJECTION_RAISED:
        _raise_objection(draft, subject, evidence)
    elif kind is SignalType.CONSENT_WITHDRAWN:
        _withdraw_consent(draft, subject)
    elif kind is SignalType.NOT_NOW:
        _not_now(draft, evidence)
    elif kind is SignalType.DISENGAGEMENT:
        draft.set_fact("conversation.disengaged", "yes", conversation_id=conversation_id)
    escalation.open_for_signal(draft, kind, conversation_id)


def opt_out(draft: Draft, source: str, evidence: tuple[str, ...] = ()) -> None:
    """The person wants no contact: binds every agent, tool, channel and wording, at once."""
    if draft.value("do_not_contact") == "buyer":
        return
    draft.set_fact("do_not_contact", source, evidence=evidence)
    grants.cut_off(draft, ReasonCode.OPT_OUT, "The person asked not to be contacted.", "do_not_contact")
    draft.direct(DirectiveType.STOP, ReasonCode.OPT_OUT, "Stop now: the person asked not to be contacted.")
    if source == "buyer":
        record_opt_out(draft)


def _raise_objection(draft: Draft, subject: str, evidence: tuple[str, ...]) -> None:
    draft.set_fact(f"objection.about.{subject or 'unstated'}", "raised", evidence=evidence)
    _count_objections(draft)
    for intent in _paused_by_objection(draft):
        fact = draft.facts.get(f"intent.{intent}")
        if fact and fact.value == "confirmed":
            draft.set_fact(f"intent.{intent}", "paused", confidence=fact.confidence, evidence=fact.evidence)


def _resolve_objection(draft: Draft, signal: Signal) -> None:
    """Resolved only as an intent is confirmed: on final words, above the threshold. Until then merely addressed."""
    name = f"objection.about.{signal.subject or 'unstated'}"
    if draft.value(name) not in ("raised", "addressed"):
        return
    resolved = _is_confirmed(draft, signal.type, signal.confidence, signal.evidence)
    draft.set_fact(
        name,
        "resolved" if resolved else "addressed",
        final=resolved,
        confidence=signal.confidence,
        evidence=signal.evidence,
    )
    if resolved:
        _lift_objections(draft)


def _lift_objections(draft: Draft) -> None:
    """What an objection paused goes on when none is open any more."""
    _count_objections(draft)
    if draft.value("objection.open"):
        return
    for intent in _paused_by_objection(draft):
        fact = draft.facts.get(f"intent.{intent}")
        if fact and fact.value == "paused":
            draft.set_fact(f"intent.{intent}", "confirmed", confidence=fact.confidence, evidence=fact.evidence)


def _count_objections(draft: Draft) -> None:
    raised = sorted(
        name.removeprefix("objection.about.")
        for name, fact in draft.facts.items()
        if name.startswith("objection.about.") and fact.value in ("raised", "addressed")
    )
    if raised:
        draft.set_fact("objection.open", ",".join(raised))
    else:
        draft.drop_fact("objection.open")


def _not_now(draft: Draft, evidence: tuple[str, ...]) -> None:
    """A no for now: bars the effects that the policy names, on every channel, until the cool-off ends."""
    assert draft.law is not None
    contact = draft.law.bundle.contact
    until = draft.now + contact.cool_off_s * SECOND
    kept = tuple(r for r in draft.get("refusals") if r.code is not ReasonCode.COOL_OFF)
    new = tuple(
        Refusal(
            effect=effect, by="buyer", code=ReasonCode.COOL_OFF, until=until, count=0, offset=draft.position.offset,
            at=draft.now,
        )
        for effect in contact.cool_off_effects
    )  # fmt: skip
    draft.put("refusals", kept + new)
    for effect in contact.cool_off_effects:
        draft.set_fact(f"refused.{effect}", "buyer", evidence=evidence)


# --- consent
def _consent(draft: Draft, signal: Signal) -> None:
    """Spoken consent is prior express consent at most, and only on final words."""
    assert draft.law is not None
    channel = signal.subject.upper()
    if channel not in Channel.__members__:
        return
    given = _is_confirmed(draft, signal.type, signal.confidence, signal.evidence)
    name = f"consent.{channel.lower()}.{draft.law.bundle.contact.consent_purpose}"
    if draft.value(name) in ("", "NONE", "indicated"):
        value = "EXPRESS" if given else "indicated"
        draft.set_fact(name, value, final=given, confidence=signal.confidence, evidence=signal.evidence)


def _withdraw_consent(draft: Draft, subject: str) -> None:
    """Withdrawn for the named channel; for all of them when none is named."""
    assert draft.law is not None
    channels = [subject.upper()] if subject.upper() in Channel.__members__ else [c.value for c in Channel]
    for channel in channels:
        draft.set_fact(f"consent.{channel.lower()}.{draft.law.bundle.contact.consent_purpose}", "withdrawn")
