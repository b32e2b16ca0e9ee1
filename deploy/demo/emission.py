"""What the player sends to an input topic, at which journal time, and which journal entries must come of it."""

from dataclasses import dataclass, field

from processors.ids import derive
from processors.intake import entry_id
from processors.perception import ADAPTERS, payload_of
from schemas.catalogue import TOPIC_OF
from schemas.codec import KIND_OF
from schemas.records import LeadId, ProviderWebhook, Record, TimeUs, TranscriptSegment


@dataclass(frozen=True, slots=True)
class Emission:
    """One record to send.

    value: bytes are sent as they are, for records that are malformed on purpose.
    entries: ids of the journal entries that intake makes of it; empty when none is to be waited for.
    segment_id: of the transcript segment that it tells of.
    """

    at: TimeUs
    topic: str
    key: str
    value: Record | bytes
    lead_id: str = ""
    entries: tuple[str, ...] = ()
    segment_id: str = ""
    ce_id: str = field(default="")


def typed(value: Record, at: TimeUs, *, key: str = "") -> Emission:
    """A record that is typed already: it names its lead, and becomes one entry."""
    lead_id: str = value.lead_id  # type: ignore[attr-defined]
    own_id = str(getattr(value, "intervention_id", "") or value.event_id)  # type: ignore[attr-defined]
    return Emission(
        at=at,
        topic=TOPIC_OF[type(value)],
        key=key or lead_id,
        value=value,
        lead_id=lead_id,
        entries=(entry_id(KIND_OF[type(value)], lead_id, own_id),),
        segment_id=value.segment_id if isinstance(value, TranscriptSegment) else "",
        ce_id=own_id,
    )


def webhook(
    provider: str, body: bytes, at: TimeUs, *, lead_id: LeadId, key: str, headers: dict[str, str], attempt: int = 1
) -> Emission:
    """A provider's webhook as the platform passes it on. What it will become is asked of the adapter itself."""
    raw = ProviderWebhook(
        raw_id=derive("raw", provider, at, attempt, body.decode("utf-8", "replace")),
        provider=provider,
        headers=headers,
        body=body,
        received_at=at,
    )
    events = ADAPTERS[provider](payload_of(raw)).events
    return Emission(
        at=at,
        topic=TOPIC_OF[ProviderWebhook],
        key=key,
        value=raw,
        lead_id=lead_id,
        entries=tuple(entry_id(KIND_OF[type(event)], lead_id, event.event_id) for event in events),
        segment_id=next((event.segment_id for event in events if isinstance(event, TranscriptSegment)), ""),
        ce_id=raw.raw_id,
    )
