"""What the CRM says about a lead: who it is, where, and what it consented to."""

from processors import signals
from processors.draft import Draft
from schemas.records import CrmEvent, CrmEventType


def on_crm_event(draft: Draft, event: CrmEvent) -> None:
    """Folds one CRM event."""
    if event.type is CrmEventType.LEAD_UPSERTED:
        _identify(draft, event)
    elif event.type in (CrmEventType.CONSENT_RECORDED, CrmEventType.CONSENT_WITHDRAWN) and event.consent:
        withdrawn = event.type is CrmEventType.CONSENT_WITHDRAWN
        name = f"consent.{event.consent.channel.lower()}.{event.consent.purpose}"
        draft.set_fact(name, "withdrawn" if withdrawn else event.consent.type)
    elif event.type is CrmEventType.DO_NOT_CONTACT_SET:
        signals.opt_out(draft, "crm")
    elif event.type is CrmEventType.DO_NOT_CONTACT_LIFTED and draft.value("do_not_contact") == "crm":
        # What the buyer said to us is not lifted by a CRM field.
        draft.drop_fact("do_not_contact")
    elif event.type is CrmEventType.STATUS_CHANGED and event.status:
        draft.set_fact("crm.status", event.status)


def _identify(draft: Draft, event: CrmEvent) -> None:
    if event.external_id:
        draft.set_fact("lead.external_id", event.external_id)
    if event.time_zones:
        draft.set_fact("lead.time_zones", ",".join(event.time_zones))
    if event.jurisdictions:
        draft.set_fact("lead.jurisdictions", ",".join(event.jurisdictions))
