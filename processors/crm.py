"""What the CRM says about a lead: who it is, where, and what it consented to."""

from processors import signals
from processors.draft import Draft
from processors.lead import MAX_CONSENTS
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
        draft.set_fact("lead.time_zones", ",".join(event.time_zones))
        if event.time_zone_basis:
            draft.set_fact("lead.time_zone_basis", event.time_zone_basis)
    if event.jurisdictions:
        draft.set_fact("lead.jurisdictions", ",".join(event.jurisdictions))
        if event.jurisdiction_basis:
            draft.set_fact("lead.jurisdiction_basis", event.jurisdiction_basis)


def _consent(draft: Draft, event: CrmEvent) -> None:
    """The proof is the fact's evidence. A withdrawal is always kept; a consent when there is room for it.

    After a withdrawal only a consent counts that says it was given later: a CRM sends its old rows again.
    """
    consent = event.consent
    assert consent is not None
    name = f"consent.{consent.channel.lower()}.{consent.purpose}"
    old = draft.facts.get(name)
    given_at = consent.given_at or event.occurred_at
    if event.type is CrmEventType.CONSENT_WITHDRAWN:
        draft.set_fact(name, "withdrawn")
    elif old and old.value == "withdrawn" and (given_at is None or given_at <= old.at):
        return
    elif name in draft.facts or sum(known.startswith("consent.") for known in draft.facts) < MAX_CONSENTS:
        draft.set_fact(name, consent.type, evidence=(consent.proof,) if consent.proof else ())


def _do_not_contact(event: CrmEvent) -> str:
    """Name of the fact: of one channel, or of all when the scope is none that we know."""
    channel = event.scope.upper()
    return f"do_not_contact.{channel.lower()}" if channel in Channel.__members__ else "do_not_contact"


def _bar_contact(draft: Draft, event: CrmEvent) -> None:
    name = _do_not_contact(event)
    if name == "do_not_contact":
        signals.opt_out(draft, "crm", until=event.until)
    elif draft.value(name) != "buyer":
        draft.set_fact(name, "crm", until=event.until)
