"""Signals: claims about the buyer, and what each kind does.

A positive signal confirms only above its thresholds and on final words (`intents`). A restraining signal counts
early: opt-out, objection, not now, a refusal, a wish for a person, a risk.
"""

import msgspec

from processors import escalation, grants, intents, objections, refusals
from processors.conversation import release_floor
from processors.draft import Draft
from processors.lead import EVIDENCE_BYTES, MAX_EVIDENCE, SECOND
from processors.system import record_opt_out
from schemas.records import (
    Channel,
    ConversationId,
    DirectiveType,
    ReasonCode,
    Signal,
    SignalNote,
    SignalType,
    TimeUs,
)

_RESTRAINING = frozenset(
    {
        SignalType.OBJECTION_RAISED, SignalType.CONSENT_WITHDRAWN, SignalType.OPT_OUT, SignalType.NOT_NOW,
        SignalType.ASKS_FOR_HUMAN, SignalType.DISENGAGEMENT, SignalType.DECLINED,
    }
)  # fmt: skip


def on_signal(draft: Draft, signal: Signal) -> None:
    """Folds one signal. Without a policy, which holds the thresholds, a signal says nothing but an opt-out."""
    held = _held(signal.evidence)
    is_cut, signal = held != signal.evidence, msgspec.structs.replace(signal, evidence=held)
    _note(draft, signal)
    if is_cut and signal.type not in _RESTRAINING and signal.type is not SignalType.RISK and not signal.denies:
        return  # Nobody could see all the words that it rests on: it confirms nothing.
    if signal.type is SignalType.OPT_OUT and draft.law is None:
        opt_out(draft, "buyer", signal.evidence)
    if draft.law is None:
        return
    if signal.type in _RESTRAINING:
        if signal.confidence >= draft.law.bundle.signals.restrain_from and not signal.denies:
            restrain(draft, signal.type, signal.subject, signal.conversation_id, signal.evidence)
    elif signal.type is SignalType.RISK:
        if signal.confidence >= draft.law.bundle.signals.risk_from and not signal.denies:
            draft.set_fact("risk", "high", confidence=signal.confidence, evidence=signal.evidence)
    elif signal.type is SignalType.OBJECTION_RESOLVED:
        objections.on_resolved(draft, signal)
    elif signal.type is SignalType.CONSENT_GIVEN:
        _consent(draft, signal)
    elif signal.type in draft.law.bundle.signals.intents:
        intents.claim(draft, signal)
        _lift_refusals(draft, signal)


def _lift_refusals(draft: Draft, signal: Signal) -> None:
    """New words that confirm lift a no also where the intent stands confirmed by older ones."""
    assert draft.law is not None
    name = f"intent.{draft.law.bundle.signals.intents[signal.type]}"
    in_time = not signal.denies and intents.is_in_time(draft, signal)
    if in_time and intents.is_confirmed(draft, signal.type, signal.confidence, signal.evidence):
        refusals.lift_by_words(draft, name, signal.evidence)


def _held(evidence: tuple[str, ...]) -> tuple[str, ...]:
    """As many segments under a signal as a row has room for."""
    held = evidence[:MAX_EVIDENCE]
    while sum(len(segment_id.encode()) for segment_id in held) > EVIDENCE_BYTES:
        held = held[:-1]
    return held


def _note(draft: Draft, signal: Signal) -> None:
    note = SignalNote(
        type=signal.type, subject=signal.subject, denies=signal.denies, confidence=signal.confidence,
        detector=signal.detector, evidence=signal.evidence, conversation_id=signal.conversation_id,
        offset=draft.position.offset, at=draft.now,
    )  # fmt: skip
    draft.add("signals", note)


# --- words that signals rest on
def evidence_settled(draft: Draft, segment_id: str) -> None:
    """A segment became final: what waited for it may be confirmed now."""
    if draft.law is None:
        return
    intents.settle(draft, segment_id)
    objections.settle(draft, segment_id)
    for name in sorted(n for n in draft.facts if n.startswith("consent.")):
        fact = draft.facts[name]
        if fact.final or segment_id not in fact.evidence or fact.confidence is None:
            continue
        if intents.is_confirmed(draft, SignalType.CONSENT_GIVEN, fact.confidence, fact.evidence):
            draft.set_fact(name, "EXPRESS", confidence=fact.confidence, evidence=fact.evidence)


def evidence_changed(draft: Draft, segment_id: str, becomes: str) -> None:
    """Words that something rests on were corrected or withdrawn: positive facts fall, restraints stay."""
    intents.unsettle(draft, segment_id, becomes)
    reached = draft.facts.get("contact.reached")
    if becomes == "withdrawn" and reached is not None and segment_id in reached.evidence:
        draft.drop_fact("contact.reached")
    objections.unsettle(draft, segment_id)
    for name in sorted(n for n in draft.facts if n.startswith("consent.")):
        fact = draft.facts[name]
        if segment_id in fact.evidence and fact.value != "withdrawn":
            draft.drop_fact(name)
    for name in [n for n, fact in draft.facts.items() if n.startswith("obligation.") and segment_id in fact.evidence]:
        draft.drop_stored(name)  # An agent's words that were not said met nothing.


# --- restraints
def restrain(
    draft: Draft, kind: SignalType, subject: str, conversation_id: ConversationId | None, evidence: tuple[str, ...]
) -> None:
    """What a restraining signal does."""
    if kind is SignalType.OPT_OUT:
        opt_out(draft, "buyer", evidence)
    elif kind is SignalType.OBJECTION_RAISED:
        objections.on_raised(draft, subject, evidence)
    elif kind is SignalType.CONSENT_WITHDRAWN:
        _withdraw_consent(draft, subject)
    elif kind is SignalType.NOT_NOW:
        _not_now(draft)
    elif kind is SignalType.DECLINED:
        _declined(draft, subject, evidence)
    elif kind is SignalType.DISENGAGEMENT:
        draft.set_fact("conversation.disengaged", "yes", conversation_id=conversation_id)
    for intent in draft.law.bundle.signals.contradicted_by.get(kind, ()) if draft.law else ():
        if draft.value(f"intent.{intent}"):
            intents.lower(draft, intent, evidence)
    escalation.open_for_signal(draft, kind, conversation_id)


def opt_out(draft: Draft, source: str, evidence: tuple[str, ...] = (), until: TimeUs | None = None) -> None:
    """The person wants no contact: binds every agent, tool, channel and wording, at once."""
    if draft.value("do_not_contact") == "buyer":
        return
    draft.set_fact("do_not_contact", source, evidence=evidence, until=until)
    grants.cut_off(draft, ReasonCode.OPT_OUT, "The person asked not to be contacted.", "do_not_contact")
    release_floor(draft)
    draft.direct(DirectiveType.STOP, ReasonCode.OPT_OUT, "Stop now: the person asked not to be contacted.")
    if source == "buyer":
        record_opt_out(draft)


def _not_now(draft: Draft) -> None:
    """A no for now: bars the effects that the policy names, on every channel, until the cool-off ends."""
    assert draft.law is not None
    contact = draft.law.bundle.contact
    for effect in contact.cool_off_effects:
        refusals.bar(draft, effect, "buyer", ReasonCode.COOL_OFF, until=draft.now + contact.cool_off_s * SECOND)


def _declined(draft: Draft, subject: str, evidence: tuple[str, ...]) -> None:
    """The buyer declined an action or an effect. What names neither is an objection about it."""
    assert draft.law is not None
    action = draft.law.bundle.actions.get(subject)
    effect = action.effect if action else subject
    if effect in draft.law.effects:
        decline(draft, effect)
    else:
        objections.on_raised(draft, subject, evidence)


def decline(draft: Draft, effect: str) -> None:
    """The buyer refused an effect: barred until newer words confirm what the policy says, or its time is over."""
    if draft.law is None:
        return
    contact = draft.law.bundle.contact
    refusals.bar(
        draft, effect, "buyer", ReasonCode.EFFECT_REFUSED, until=draft.now + contact.declined_s * SECOND,
        lifted_by=contact.declined_lifted_by.get(effect, ()),
    )  # fmt: skip


# --- consent
def _consent(draft: Draft, signal: Signal) -> None:
    """Spoken consent is prior express consent at most, and only on final words."""
    assert draft.law is not None
    channel = signal.subject.upper()
    if channel not in Channel.__members__ or signal.denies:
        return
    in_time = intents.is_in_time(draft, signal)
    given = in_time and intents.is_confirmed(draft, signal.type, signal.confidence, signal.evidence)
    name = f"consent.{channel.lower()}.{draft.law.bundle.contact.consent_purpose}"
    if draft.value(name) in ("", "NONE", "indicated"):
        value = "EXPRESS" if given else "indicated"
        confidence = signal.confidence if in_time else None
        draft.set_fact(name, value, final=given, confidence=confidence, evidence=signal.evidence)


def _withdraw_consent(draft: Draft, subject: str) -> None:
    """Withdrawn for the named channel; for all of them when none is named."""
    assert draft.law is not None
    channels = [subject.upper()] if subject.upper() in Channel.__members__ else [c.value for c in Channel]
    for channel in channels:
        draft.set_fact(f"consent.{channel.lower()}.{draft.law.bundle.contact.consent_purpose}", "withdrawn")
