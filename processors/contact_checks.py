"""Checks of contact: may this person be contacted, on this channel, at this time, so often?"""

from processors import timing
from processors.hearing import FAILED, Failure, Hearing
from processors.lead import SECOND
from schemas.records import Attempt, ReasonCode, Verdict


def contactable(hearing: Hearing, _: object) -> Failure | None:
    """Nobody asked that this person not be contacted, at all or on this channel, whatever the request calls it."""
    channels = [hearing.request.channel.lower()]
    if hearing.request.conversation_id is not None:
        channels.append(hearing.value("conversation.channel").lower())
    for name in ("do_not_contact", *(f"do_not_contact.{channel}" for channel in dict.fromkeys(channels) if channel)):
        fact = hearing.read(name)
        if fact is not None:
            return Failure(not_before=fact.until, detail=f"by {fact.value}")
    return None


def consent(hearing: Hearing, _: object) -> Failure | None:
    contact = hearing.law.bundle.contact
    channel = hearing.request.channel
    if channel not in contact.consent:
        return FAILED  # No consent is known to suffice there; naming another channel gets round nothing.
    given = hearing.value(f"consent.{channel.lower()}.{contact.consent_purpose}")
    return None if given in contact.consent[channel] else FAILED


def calling_hours(hearing: Hearing, _: object) -> Failure | None:
    """Every candidate zone and every jurisdiction of the lead must allow the hour."""
    contact = hearing.law.bundle.contact
    zones = [timing.zone(name) for name in hearing.value("lead.time_zones").split(",") if name]
    rules = timing.rules_of(contact, hearing.value("lead.jurisdictions").split(","))
    known = [place for place in zones if place is not None]
    if not known or len(known) < len(zones):
        return Failure(code=ReasonCode.MISSING_FACT)
    opens = timing.next_allowed(hearing.now, known, rules)
    if opens == hearing.now:
        return None
    return Failure(not_before=opens) if opens else Failure(verdict=Verdict.BLOCK)


def attempts(hearing: Hearing, _: object) -> Failure | None:
    """Over the cap is a no until the window has moved on; too soon after the last attempt is merely too early."""
    contact = hearing.law.bundle.contact
    rules = timing.rules_of(contact, hearing.value("lead.jurisdictions").split(","))
    made = _made(hearing)
    free_at = timing.attempt_allowed_at(hearing.now, made, rules, 0)
    if free_at > hearing.now:
        return Failure(verdict=Verdict.BLOCK, not_before=free_at)
    gap_ends = timing.attempt_allowed_at(hearing.now, made, (), contact.min_gap_s)
    return Failure(code=ReasonCode.MIN_GAP, not_before=gap_ends) if gap_ends > hearing.now else None


def retries(hearing: Hearing, _: object) -> Failure | None:
    """What the last attempts came to limits the next: so many, and not so soon."""
    made = _made(hearing)
    late, early = hearing.now, hearing.now
    for outcome, retry in hearing.law.bundle.contact.retries.items():
        same = [attempt for attempt in made if attempt.outcome == outcome]
        late = max(late, timing.retry_allowed_at(hearing.now, same, retry))
        if same and same[-1] is made[-1]:
            early = max(early, same[-1].at + retry.gap_s * SECOND)
    if late > hearing.now:
        return Failure(verdict=Verdict.BLOCK, not_before=late)
    return Failure(code=ReasonCode.MIN_GAP, not_before=early) if early > hearing.now else None


def _made(hearing: Hearing) -> list[Attempt]:
    """Attempts on the request's channel, oldest first, from whatever number."""
    hearing.read("contact.attempts")
    return [attempt for attempt in hearing.attempts if attempt.channel == hearing.request.channel]
