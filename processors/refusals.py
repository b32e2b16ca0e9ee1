"""A "no" binds by its effect: every agent, tool, channel and wording, until its condition.

The buyer, a rule of the policy or a person bars an effect; the fact `refused.<effect>` says so while it holds. A
refusal with a beginning in the future is pending. Asking again draws down a budget.
"""

import msgspec

from processors.draft import Draft
from processors.intents import is_newer
from processors.lead import MAX_REASON
from schemas.records import ReasonCode, Refusal, TimeUs

_STRENGTH = ("policy", "buyer", "human")
"""Who is named when several bar the same effect: the last of these."""


def bar(
    draft: Draft, effect: str, by: str, code: ReasonCode, *, until: TimeUs | None, since: TimeUs | None = None,
    lifted_by: tuple[str, ...] = (), reason: str = "",
) -> None:  # fmt: skip
    """Bars an effect. A second no of the same kind takes the place of the first; it begins and ends no sooner free.

    What is barred now stays so, though the second begins later; the end is the later of both.
    """
    kept, old = [], None
    for refusal in draft.get("refusals"):
        if (refusal.effect, refusal.by, refusal.code) == (effect, by, code):
            old = refusal
        else:
            kept.append(refusal)
    if old is not None and (old.until is None or until is None):
        until = None
    elif old is not None and old.until is not None and until is not None:
        until = max(old.until, until)
    pending = since is not None and since > draft.now and (old is None or old.since is not None)
    if pending and old is not None and old.since is not None and since is not None:
        since = min(old.since, since)
    new = Refusal(
        effect=effect, by=by, code=code, until=until, lifted_by=lifted_by, count=old.count if old else 0,
        offset=draft.position.offset, at=draft.now, since=since if pending else None, reason=reason[:MAX_REASON],
    )  # fmt: skip
    draft.put("refusals", (*kept, new))
    _sync(draft, effect)


def pass_time(draft: Draft) -> None:
    """Pending refusals begin, lapsed ones end."""
    refusals = draft.get("refusals")
    kept = []
    for refusal in refusals:
        if refusal.until is not None and refusal.until <= draft.now:
            continue
        begins = refusal.since is not None and refusal.since <= draft.now
        kept.append(msgspec.structs.replace(refusal, since=None) if begins else refusal)
    if kept != list(refusals):
        draft.put("refusals", tuple(kept))
        for effect in sorted({refusal.effect for refusal in refusals}):
            _sync(draft, effect)


def lift(draft: Draft, effect: str, by: str) -> bool:
    """Takes away what one side barred; False when there was nothing."""
    refusals = draft.get("refusals")
    kept = tuple(r for r in refusals if (r.effect, r.by) != (effect, by))
    if len(kept) == len(refusals):
        return False
    draft.put("refusals", kept)
    _sync(draft, effect)
    return True


def lift_by_facts(draft: Draft, dirty: set[str]) -> None:
    """Lifts what a fact lifts that is confirmed, on final words that were said after the no."""
    named = {name for refusal in draft.get("refusals") for name in refusal.lifted_by if name in dirty}
    for name in sorted(named):
        fact = draft.facts.get(name)
        if fact is not None and fact.final and fact.value == "confirmed":
            lift_by_words(draft, name, fact.evidence)


def lift_by_words(draft: Draft, name: str, evidence: tuple[str, ...]) -> None:
    """Lifts what a fact lifts, when the words that confirm it were said after the no."""
    lifted = [r for r in draft.get("refusals") if name in r.lifted_by and is_newer(draft, evidence, r.offset)]
    if lifted:
        draft.put("refusals", tuple(r for r in draft.get("refusals") if r not in lifted))
        for effect in sorted({refusal.effect for refusal in lifted}):
            _sync(draft, effect)


def exhausted(draft: Draft, effect: str, budget: int) -> Refusal | None:
    """The refusal of an effect that was asked for too often since; None when there is none."""
    return next(
        (r for r in draft.get("refusals") if r.effect == effect and r.since is None and r.count >= budget), None
    )


def draw_down(draft: Draft, effect: str) -> None:
    """Somebody asked for a refused effect again."""
    refusals = draft.get("refusals")
    if any(refusal.effect == effect for refusal in refusals):
        draft.put(
            "refusals",
            tuple(msgspec.structs.replace(r, count=r.count + 1) if r.effect == effect else r for r in refusals),
        )


def _sync(draft: Draft, effect: str) -> None:
    """The fact follows the refusals that hold now: who, and until when all of them have ended."""
    active = [r for r in draft.get("refusals") if r.effect == effect and r.since is None]
    name = f"refused.{effect}"
    if not active:
        draft.drop_fact(name)
        return
    by = max((refusal.by for refusal in active), key=_STRENGTH.index)
    untils = [refusal.until for refusal in active]
    until = None if None in untils else max(u for u in untils if u is not None)
    draft.set_fact(name, by, until=until)
