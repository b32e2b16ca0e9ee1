"""Objections: raised, addressed, resolved, reopened; one fact a subject, and one that names the open ones."""

from processors import intents
from processors.draft import Draft
from processors.lead import MAX_SUBJECTS
from schemas.records import Signal, SignalType

_OPEN = ("raised", "addressed", "reopened")
_PREFIX = "objection.about."
OTHER = "other"
"""Subject under which objections are kept when there are too many to tell apart."""


def on_raised(draft: Draft, subject: str, evidence: tuple[str, ...]) -> None:
    """The buyer objects."""
    name = _name(draft, subject)
    known = draft.value(name)
    draft.set_fact(name, "reopened" if known in ("resolved", "reopened") else "raised", evidence=evidence)
    _count(draft)
    intents.pause(draft)


def _name(draft: Draft, subject: str) -> str:
    name = f"{_PREFIX}{subject or 'unstated'}"
    if name in draft.facts or sum(known.startswith(_PREFIX) for known in draft.facts) < MAX_SUBJECTS:
        return name
    return f"{_PREFIX}{OTHER}"


def on_resolved(draft: Draft, signal: Signal) -> None:
    """Resolved only as an intent is confirmed: on final words, above the threshold. Until then merely addressed."""
    name = f"{_PREFIX}{signal.subject or 'unstated'}"
    if draft.value(name) not in _OPEN or signal.denies or _is_said_before(draft, signal, name):
        return
    resolved = intents.is_in_time(draft, signal) and intents.is_confirmed(
        draft, signal.type, signal.confidence, signal.evidence
    )
    draft.set_fact(
        name, "resolved" if resolved else "addressed", final=resolved, confidence=signal.confidence,
        evidence=signal.evidence,
    )  # fmt: skip
    if resolved:
        _lift(draft)


def _is_said_before(draft: Draft, signal: Signal, name: str) -> bool:
    """Were the words said before the objection? Then they resolve nothing."""
    known = {segment.segment_id for segment in draft.get("segments")}
    raised = draft.facts[name]
    is_old = known.intersection(signal.evidence) and not intents.is_newer(draft, signal.evidence, raised.offset)
    return raised.value in ("raised", "reopened") and bool(is_old)


def settle(draft: Draft, segment_id: str) -> None:
    """Words became final on which an objection was addressed."""
    for name in sorted(n for n in draft.facts if n.startswith(_PREFIX)):
        fact = draft.facts[name]
        if fact.final or segment_id not in fact.evidence:
            continue
        if intents.is_confirmed(draft, SignalType.OBJECTION_RESOLVED, fact.confidence or 0.0, fact.evidence):
            draft.set_fact(name, "resolved", confidence=fact.confidence, evidence=fact.evidence)
            _lift(draft)


def unsettle(draft: Draft, segment_id: str) -> None:
    """Words on which an objection was resolved are no longer what was said: it is open again."""
    for name in sorted(n for n in draft.facts if n.startswith(_PREFIX)):
        fact = draft.facts[name]
        if segment_id in fact.evidence and fact.value in ("addressed", "resolved"):
            on_raised(draft, name.removeprefix(_PREFIX), fact.evidence)


def _lift(draft: Draft) -> None:
    _count(draft)
    if not draft.value("objection.open"):
        intents.resume(draft)


def _count(draft: Draft) -> None:
    found = sorted(
        name.removeprefix(_PREFIX)
        for name, fact in draft.facts.items()
        if name.startswith(_PREFIX) and fact.value in _OPEN
    )
    if found:
        draft.set_fact("objection.open", ",".join(found))
    else:
        draft.drop_fact("objection.open")
