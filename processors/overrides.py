"""A person's decision to let one refused request pass.

It is signed by an author whom the policy names, is about exactly one request, gives a reason, ends, can be withdrawn,
and lifts only what the policy marks as overridable. Each use stands in its decision with before and after.
"""

import msgspec
from cryptography.exceptions import InvalidSignature

from processors.authority import override_text, public_key_of
from processors.draft import Draft
from processors.lead import MAX_OVERRIDES, MAX_REASON, SECOND
from processors.policy import Person
from schemas.records import HumanIntervention, Judged, Override, OverrideStatus, Verdict

_IN_FORCE = (OverrideStatus.PENDING, OverrideStatus.USED)


def pending(draft: Draft, digest: int) -> Override | None:
    """The unused override of a request by its digest."""
    return next((o for o in draft.get("overrides") if o.digest == digest and o.status is OverrideStatus.PENDING), None)


def add(draft: Draft, intervention: HumanIntervention) -> str | None:
    """Takes an override; why not, when it is not taken. A request that waits is judged again by its fact."""
    person, problem = _author(draft, intervention)
    if person is None or draft.law is None:
        return problem
    judged = next((j for j in draft.get("judged") if j.request_id == intervention.request_id), None)
    reason_against = _problem(draft, intervention, person, judged)
    if reason_against or judged is None:
        return reason_against
    limit = draft.now + draft.law.bundle.limits.override_ttl_s * SECOND
    override = Override(
        override_id=intervention.intervention_id, digest=judged.digest, action=judged.action, by=intervention.author,
        role=intervention.author_role, reason=intervention.reason[:MAX_REASON],
        until=min(intervention.until or limit, limit),
        status=OverrideStatus.PENDING, offset=draft.position.offset, at=draft.now,
    )  # fmt: skip
    draft.add("overrides", override)
    _sync(draft, override.action)
    return None


def _author(draft: Draft, intervention: HumanIntervention) -> tuple[Person | None, str]:
    """The person behind an intervention when the signature is theirs, else what is wrong."""
    person = draft.law.bundle.people.get(intervention.author) if draft.law else None
    if person is None or person.role != intervention.author_role:
        return None, f"the policy knows no {intervention.author_role} {intervention.author}"
    if intervention.signature is None:
        return None, "it is not signed"
    try:
        key = public_key_of(person.public_key)
        key.verify(intervention.signature.signature, override_text(intervention))
    except (InvalidSignature, ValueError):
        return None, f"the signature is not {intervention.author}'s"
    return person, ""


def _problem(draft: Draft, intervention: HumanIntervention, person: Person, judged: Judged | None) -> str | None:
    if not intervention.reason.strip():
        return "it gives no reason"
    if judged is None:
        return f"no request {intervention.request_id} of this lead was judged lately"
    if judged.verdict is Verdict.PERMIT:
        return f"request {judged.request_id} was permitted"
    if judged.action not in person.may_override and "*" not in person.may_override:
        return f"{intervention.author} may not override {judged.action}"
    if intervention.until is not None and intervention.until <= draft.now:
        return "it is over already"
    if len(draft.get("overrides")) >= MAX_OVERRIDES:
        return f"{MAX_OVERRIDES} overrides are in force for this lead"
    return None


def withdraw(draft: Draft, intervention: HumanIntervention) -> str | None:
    """Takes an override back, and by its fact the grant that rests on it; why not, when there is none."""
    _, problem = _author(draft, intervention)
    if problem:
        return problem
    found = next((o for o in draft.get("overrides") if o.override_id == intervention.override_id), None)
    if found is None:
        return f"no override {intervention.override_id} is in force"
    _change(draft, found, OverrideStatus.WITHDRAWN)
    return None


def use(draft: Draft, override: Override) -> None:
    """Notes that a permit rests on an override: it is used up."""
    _change(draft, override, OverrideStatus.USED)
    draft.set_fact("overrides.used", str(int(draft.value("overrides.used") or 0) + 1))


def pass_time(draft: Draft) -> None:
    """Overrides whose time is over end."""
    for override in draft.get("overrides"):
        if override.until <= draft.now:
            _change(draft, override, OverrideStatus.EXPIRED)


def _change(draft: Draft, override: Override, status: OverrideStatus) -> None:
    """Those that no longer hold leave the row; the transition says what became of them."""
    changed = msgspec.structs.replace(override, status=status)
    kept = (changed if o.override_id == override.override_id else o for o in draft.get("overrides"))
    draft.put("overrides", tuple(o for o in kept if o.status in _IN_FORCE))
    draft.note_end("overrides", override.override_id, str(status))
    _sync(draft, override.action)


def _sync(draft: Draft, action: str) -> None:
    names = [o.override_id for o in draft.get("overrides") if o.action == action and o.status in _IN_FORCE]
    if names:
        draft.set_fact(f"override.{action}", ",".join(names))
    else:
        draft.drop_fact(f"override.{action}")
