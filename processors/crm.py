"""What the CRM says about a lead: who it is, where, and what it consented to."""

from processors import signals
from processors.draft import Draft
from processors.lead import CONSENT_BYTES, MAX_CONSENTS, MAX_LIST_TEXT
from schemas.records import Channel, CrmEvent, CrmEventType


def on_crm_event(draft: Draft, event: CrmEvent) -> None:
    """Folds one CRM event."""
    if event.type is CrmEventType.LEAD_UPSERTED:
        _identify(draft, event)
    elif event.type in (CrmEventType.CONSENT_RECORDED, CrmEventType.CONSENT_WITHDRAWN) and event.consent:
        _consent(draft, event)
    elif event.type is CrmEventType.DO_NOT_CONTACT_SET:
        _bar_contact(draft, event)
    elif event.type is CrmEventType.DO_NOT_CONTACT_LIFTED:
        name = _do_not_contact(event)
        if draft.value(name) == "crm":
            # What the buyer said to us is not lifted by a CRM field.
            draft.drop_fact(name)
    elif event.type is CrmEventType.STATUS_CHANGED and event.status:
        draft.set_fact("crm.status", event.status)


def _identify(draft: Draft, event: CrmEvent) -> None:
    if event.external_id:
        draft.set_fact("lead.external_id", event.external_id)
    if event.time_zones:
        draft.set_fact("lead.time_zones", _listed(event.time_zones, "unlisted"))
        if event.time_zone_basis:
            draft.set_fact("lead.time_zone_basis", event.time_zone_basis)
    if event.jurisdictions:
        draft.set_fact("lead.jurisdictions", _listed(event.jurisdictions))
        if event.jurisdiction_basis:
            draft.set_fact("lead.jurisdiction_basis", event.jurisdiction_basis)


def _listed(names: tuple[str, ...], rest: str = "") -> str:
    """Names as a fact holds them. rest: stands for those that have no room; a zone that is none bars all hours."""
    text = ",".join(dict.fromkeys(names))
    if len(text) <= MAX_LIST_TEXT:
        return text
    kept = text[:MAX_LIST_TEXT].rpartition(",")[0]
    return f"{kept},{rest}" if rest else kept


def _has_room(draft: Draft, name: str, proof: str) -> bool:
    """Is there room for another consent? A purpose that has none counts as no consent."""
    known = [(n, fact) for n, fact in draft.facts.items() if n.startswith("consent.")]
    taken = sum(len(n.encode()) + sum(len(e.encode()) for e in fact.evidence) for n, fact in known)
    return len(known) < MAX_CONSENTS and taken + len(name.encode()) + len(proof.encode()) <= CONSENT_BYTES


def _consent(draft: Draft, event: CrmEvent) -> None:
    """The proof is the fact's evidence. A withdrawal of what the policy asks for is always kept, else what has room.

    After a withdrawal only a consent counts that says it was given later: a CRM sends its old rows again.
    """
    consent = event.consent
    assert consent is not None
    name = f"consent.{consent.channel.lower()}.{consent.purpose}"
    old = draft.facts.get(name)
    given_at = consent.given_at or event.occurred_at
    purpose = draft.law.bundle.contact.consent_purpose if draft.law else consent.purpose
    is_kept = name in draft.facts or _has_room(draft, name, consent.proof or "")
    if event.type is CrmEventType.CONSENT_WITHDRAWN:
        if is_kept or consent.purpose == purpose:
            draft.set_fact(name, "withdrawn")
    elif old and old.value == "withdrawn" and (given_at is None or given_at <= old.at):
        return
    elif is_kept:
        draft.set_fact(name, consent.type, evidence=(consent.proof,) if consent.proof else ())


def _do_not_contact(event: CrmEvent) -> str:
    """Name of the fact: of one channel, or of all when the scope is none that we know."""
    channel = event.scope.upper()
    return f"do_not_contact.{channel.lower()}" if channel in Channel.__members__ else "do_not_contact"


def _bar_contact(draft: Draft, event: CrmEvent) -> None:
    """A second one never ends earlier than the first: what ends it sooner is its being lifted."""
    name = _do_not_contact(event)
    old, until = draft.facts.get(name), event.until
    if old is not None:
        until = max(old.until, until) if old.until is not None and until is not None else None
    if name == "do_not_contact":
        signals.opt_out(draft, "crm", until=until)
    elif draft.value(name) != "buyer":
        draft.set_fact(name, "crm", until=until)
