"""Intents: what the buyer means, as governed state: none, indicated, confirmed, paused, withdrawn.

A positive signal confirms only above its thresholds, in time, and on words that are all final; until then the intent
is merely indicated. A contrary signal lowers an intent and never raises one; after it only newer words confirm again.
"""

from processors.draft import Draft
from processors.lead import SECOND
from schemas.records import Fact, SegmentStatus, Signal, SignalType, Speaker, TimeUs

_SETTLED = (SegmentStatus.FINAL, SegmentStatus.CORRECTED)
_OTHERS_THAN_STAFF = (Speaker.LEAD, Speaker.UNKNOWN)
"""Whose words may carry what the buyer means. On a mixed track the recogniser can't tell who speaks."""


def claim(draft: Draft, signal: Signal) -> None:
    """Folds a signal that claims an intent, or denies it."""
    assert draft.law is not None
    intent = draft.law.bundle.signals.intents[signal.type]
    if signal.denies:
        if signal.confidence >= draft.law.bundle.signals.restrain_from:
            lower(draft, intent, signal.evidence)
        return
    old = draft.facts.get(f"intent.{intent}")
    if old and _is_carried(old):
        return  # A repeat adds nothing, and a weaker claim takes nothing away.
    in_time = is_in_time(draft, signal)
    confirmed = in_time and is_confirmed(draft, signal.type, signal.confidence, signal.evidence)
    if old and old.value == "withdrawn" and not (confirmed and is_newer(draft, signal.evidence, old.offset)):
        return  # What falls short leaves it withdrawn, so that old words never pass behind a weak new claim.
    if in_time:
        draft.drop_fact(f"late.{intent}")
    else:
        draft.set_fact(f"late.{intent}", "yes", evidence=signal.evidence)
    _set(draft, intent, confirmed, signal.confidence, signal.evidence)


def _is_carried(fact: Fact) -> bool:
    return fact.value == "confirmed" and fact.final


def is_newer(draft: Draft, evidence: tuple[str, ...], than: int) -> bool:
    """Do all these words come after an offset? What was said before a no does not undo it."""
    offsets = [segment.offset for segment in draft.get("segments") if segment.segment_id in evidence]
    return bool(offsets) and all(offset > than for offset in offsets)


def _set(draft: Draft, intent: str, confirmed: bool, confidence: float | None, evidence: tuple[str, ...]) -> None:
    paused = confirmed and draft.value("objection.open") and intent in paused_by_objection(draft)
    draft.set_fact(
        f"intent.{intent}", "paused" if paused else "confirmed" if confirmed else "indicated", final=confirmed,
        confidence=confidence, evidence=evidence, until=_valid_until(draft, intent) if confirmed else None,
    )  # fmt: skip
    if confirmed:
        draft.drop_fact(f"late.{intent}")
        draft.drop_fact(f"conflict.{intent}")


def _valid_until(draft: Draft, intent: str) -> TimeUs | None:
    """How long the policy lets anything rest on an intent that is confirmed now."""
    valid_s = draft.law.bundle.signals.valid_for_s.get(intent) if draft.law else None
    return None if valid_s is None else draft.now + valid_s * SECOND


def lapse(draft: Draft, name: str) -> None:
    """What was confirmed is too old to rest on: it may be asked again, and only new words confirm it."""
    draft.set_fact(name, "lapsed", final=False, evidence=draft.facts[name].evidence)


def lower(draft: Draft, intent: str, evidence: tuple[str, ...]) -> None:
    """The buyer said the contrary. What was confirmed and is now denied is a conflict until newer words settle it."""
    old = draft.facts.get(f"intent.{intent}")
    if old and old.value in ("confirmed", "paused"):
        draft.set_fact(f"conflict.{intent}", "yes", evidence=evidence)
    draft.set_fact(f"intent.{intent}", "withdrawn", evidence=evidence)


def paused_by_objection(draft: Draft) -> tuple[str, ...]:
    """Intents that an open objection pauses."""
    return draft.law.bundle.signals.paused_by_objection if draft.law else ()


def pause(draft: Draft) -> None:
    """An objection is open: what was confirmed pauses."""
    _move(draft, "confirmed", "paused")


def resume(draft: Draft) -> None:
    """No objection is open any more: what was paused goes on."""
    _move(draft, "paused", "confirmed")


def _move(draft: Draft, old: str, new: str) -> None:
    for intent in paused_by_objection(draft):
        fact = draft.facts.get(f"intent.{intent}")
        if fact and fact.value == old:
            # Its age stays: an objection that comes and goes makes old words no newer.
            draft.set_fact(
                f"intent.{intent}",
                new,
                confidence=fact.confidence,
                evidence=fact.evidence,
                at=fact.at,
                until=fact.until,
            )


# --- what confirms
def is_in_time(draft: Draft, signal: Signal) -> bool:
    """Did the signal come soon after what it is about? One by a clock that runs ahead tells no time at all."""
    assert draft.law is not None
    if signal.occurred_at is None:
        return True
    bundle = draft.law.bundle
    age = draft.now - signal.occurred_at
    return -bundle.limits.max_skew_s * SECOND <= age <= bundle.signals.max_delay_s * SECOND


def is_confirmed(draft: Draft, kind: SignalType, confidence: float, evidence: tuple[str, ...]) -> bool:
    """Above the thresholds, and on words that are all final, some of them the lead's own."""
    assert draft.law is not None
    threshold = draft.law.threshold(kind)
    if confidence < threshold.min_confidence or not evidence:
        return False
    by_id = {segment.segment_id: segment for segment in draft.get("segments")}
    if not any(by_id[name].speaker in _OTHERS_THAN_STAFF for name in evidence if name in by_id):
        return False
    for segment_id in evidence:
        segment = by_id.get(segment_id)
        if segment is None or segment.status not in _SETTLED:
            return False
        if segment.confidence is None and not draft.law.bundle.signals.accept_unknown_asr_confidence:
            return False
        if segment.confidence is not None and segment.confidence < threshold.min_asr_confidence:
            return False
    return True


def settle(draft: Draft, segment_id: str) -> None:
    """A segment became final: intents that waited for it may be confirmed now."""
    if draft.law is None:
        return
    for signal, intent in sorted(draft.law.bundle.signals.intents.items(), key=lambda item: item[1]):
        fact = draft.facts.get(f"intent.{intent}")
        if fact is None or fact.value != "indicated" or segment_id not in fact.evidence or fact.confidence is None:
            continue
        if f"late.{intent}" not in draft.facts and is_confirmed(draft, signal, fact.confidence, fact.evidence):
            _set(draft, intent, True, fact.confidence, fact.evidence)


def unsettle(draft: Draft, segment_id: str, becomes: str) -> None:
    """Words that an intent rests on were corrected or withdrawn: it falls, and the new words must earn it again."""
    for name in sorted(draft.facts):
        fact = draft.facts[name]
        if name.startswith("intent.") and segment_id in fact.evidence and fact.value != "withdrawn":
            draft.set_fact(name, becomes, final=False, confidence=0.0, evidence=fact.evidence)
