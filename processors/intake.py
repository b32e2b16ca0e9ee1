"""Admission to the journal: what a consumed record becomes, or why it can't be taken. Pure.

It fills in whose conversation an event belongs to and says what the directory should learn. It does not compare
message keys, decode bytes, or judge.
"""

from collections.abc import Mapping, Sequence

import msgspec

from processors.bounds import fault_in
from processors.ids import derive
from processors.perception import ADAPTERS, CallKey, Event, PayloadError, Perception, payload_of
from processors.perception.fields import shown
from processors.perception.legs import as_other_leg
from schemas.codec import KIND_OF
from schemas.records import (
    CallDirectoryEntry,
    CallEvent,
    ConversationId,
    DeadLetterCode,
    EntryKind,
    JournalEntry,
    LeadId,
    PolicyActivation,
    ProviderWebhook,
    Record,
    Tick,
    TimeUs,
    TranscriptSegment,
)

Directory = Mapping[CallKey, CallDirectoryEntry]

OTHER_LEG = "other-leg:"
"""Directory prefix of a leg beside the lead's own: its events belong to the conversation, its speech to a HUMAN."""
LEAD_LEG = "lead-leg:"
"""Directory prefix of a session whose legs are told apart, because the lead's own is known."""

_OWN_ID: Mapping[EntryKind, str] = {
    EntryKind.MESSAGE: "event_id",
    EntryKind.REQUEST: "request_id",
    EntryKind.OUTCOME: "outcome_id",
    EntryKind.INTERVENTION: "intervention_id",
    EntryKind.POLICY: "activation_id",
    EntryKind.TICK: "tick_id",
}


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where a record was consumed, and its trace."""

    topic: str
    partition: int
    offset: int
    traceparent: str | None = None


class Admitted(msgspec.Struct, frozen=True):
    """Entries to append, and calls to add to the directory, each in order.

    Both may be empty: a webhook may say nothing about the conversation.
    """

    entries: tuple[JournalEntry, ...] = ()
    learned: tuple[CallDirectoryEntry, ...] = ()


class Unresolved(msgspec.Struct, frozen=True):
    """No lead is known for this call yet; admit the record again when the directory learns it."""

    provider: str
    call_id: str


class Refused(msgspec.Struct, frozen=True):
    """A dead letter; the error is worded for whoever produced the record."""

    code: DeadLetterCode
    error: str


Admission = Admitted | Unresolved | Refused


def admit(value: Record, source: Source, at: TimeUs, directory: Directory) -> Admission:
    """What becomes of a record consumed from an input topic. `at` is the journal's clock."""
    fault = fault_in(value)
    if fault:
        return Refused(DeadLetterCode.BAD_VALUE, fault)
    if isinstance(value, ProviderWebhook):
        return _webhook(value, source, at, directory)
    if isinstance(value, CallEvent | TranscriptSegment):
        return _call(value, source, at, directory)
    kind = KIND_OF.get(type(value))
    if kind is None or isinstance(value, Tick):
        return Refused(DeadLetterCode.BAD_VALUE, f"{type(value).__name__} is not an input of the journal")
    lead = LeadId("" if isinstance(value, PolicyActivation) else getattr(value, "lead_id"))  # noqa: B009
    return Admitted((_entry(value, kind, lead, source, at),))


def entry_id(kind: EntryKind, lead_id: str, own_id: str) -> str:
    """Id of a journal entry: the same for every repeat of the record it carries."""
    return derive("entry", kind, lead_id, own_id)


def _webhook(webhook: ProviderWebhook, source: Source, at: TimeUs, directory: Directory) -> Admission:
    adapter = ADAPTERS.get(webhook.provider)
    if adapter is None:
        known = ", ".join(ADAPTERS)
        return Refused(DeadLetterCode.UNKNOWN_PROVIDER, f"no adapter for {shown(webhook.provider)}; there are: {known}")
    try:
        perception = adapter(payload_of(webhook))
    except PayloadError as error:
        return Refused(DeadLetterCode.BAD_PAYLOAD, str(error))
    return _place(perception, webhook.provider, source, at, directory)


def _place(seen: Perception, provider: str, source: Source, at: TimeUs, directory: Directory) -> Admission:
    if seen.call is None:
        if not seen.events:
            return Admitted()
        return Refused(
            DeadLetterCode.BAD_PAYLOAD,
            f"{provider} {shown(seen.events[0].provider_type)}: names no call; pass on header x-mandate-call-id",
        )
    other_leg = _is_other_leg(seen, directory)
    known = next((directory[key] for key in (*seen.ids, seen.call) if key in directory), None)
    lead = seen.claim.lead_id or (known and LeadId(known.lead_id))
    if not lead:
        return Unresolved(*seen.call) if seen.events else Admitted()
    conversation = seen.claim.conversation_id or (
        ConversationId(known.conversation_id)
        if known and known.lead_id == lead
        else ConversationId(":".join(seen.call))
    )
    events = (as_other_leg(event) if other_leg else event for event in seen.events)
    placed = (msgspec.structs.replace(event, lead_id=lead, conversation_id=conversation) for event in events)
    entries = tuple(_entry(event, KIND_OF[type(event)], lead, source, at) for event in placed)
    return Admitted(entries, _learned(_keys(seen, other_leg), lead, conversation, at, directory))


def _is_other_leg(seen: Perception, directory: Directory) -> bool:
    if seen.other_leg or any((provider, OTHER_LEG + id) in directory for provider, id in (*seen.ids, *_of(seen))):
        return True
    # The first leg of a session that claims a lead is the lead's; what is not of that leg is of another.
    return (
        seen.call_spans_legs
        and any(key in directory for key in _of(seen, LEAD_LEG))
        and not any(key in directory for key in seen.ids)
    )


def _of(seen: Perception, prefix: str = "") -> tuple[CallKey, ...]:
    return ((seen.call[0], prefix + seen.call[1]),) if seen.call else ()


def _keys(seen: Perception, other_leg: bool) -> tuple[CallKey, ...]:
    """Directory keys that this payload teaches; what changes the meaning of an id stands before the id."""
    if seen.other_leg:
        marks = tuple((provider, OTHER_LEG + id) for provider, id in seen.ids)
        return (*marks, *seen.ids, *_of(seen))
    if other_leg:
        return ()
    return (*seen.ids, *(_of(seen, LEAD_LEG) if seen.call_spans_legs and seen.claim.lead_id else ()), *_of(seen))


def _call(event: Event, source: Source, at: TimeUs, directory: Directory) -> Admission:
    call = (event.provider, event.call_id)
    leg = (event.provider, event.leg_id) if isinstance(event, CallEvent) and event.leg_id else None
    keys = (call, leg) if leg and leg != call else (call,)
    known = next((directory[key] for key in keys if key in directory), None)
    lead = event.lead_id or (known and LeadId(known.lead_id))
    if not lead:
        return Unresolved(*call)
    conversation = event.conversation_id or (
        ConversationId(known.conversation_id)
        if known and known.lead_id == lead
        else ConversationId(f"{event.provider}:{event.call_id}")
    )
    placed = msgspec.structs.replace(event, lead_id=lead, conversation_id=conversation)
    entry = _entry(placed, KIND_OF[type(placed)], lead, source, at)
    return Admitted((entry,), _learned(keys, lead, conversation, at, directory))


def _learned(
    keys: Sequence[CallKey], lead: LeadId, conversation: ConversationId, at: TimeUs, directory: Directory
) -> tuple[CallDirectoryEntry, ...]:
    """Entries that the directory lacks. One that it has is kept: the first word about a call is the platform's."""
    return tuple(
        CallDirectoryEntry(provider=provider, call_id=call_id, lead_id=lead, conversation_id=conversation, seen_at=at)
        for provider, call_id in dict.fromkeys(keys)
        if (provider, call_id) not in directory
    )


def _entry(body: Record, kind: EntryKind, lead: LeadId, source: Source, at: TimeUs) -> JournalEntry:
    own_id: str = getattr(body, _OWN_ID.get(kind, "event_id"))
    return JournalEntry(
        entry_id=entry_id(kind, lead, own_id),
        lead_id=lead,
        kind=kind,
        at=at,
        source_topic=source.topic,
        source_partition=source.partition,
        source_offset=source.offset,
        traceparent=source.traceparent,
        body=body,  # type: ignore[arg-type]  # one of the union: KIND_OF knows it
    )
