"""An admission to feed with records, and readers of what comes out; no broker."""

from typing import NamedTuple

from schemas import records
from schemas.catalogue import TOPIC_OF, TOPICS
from schemas.codec import Codec
from schemas.records import CallEvent, CallEventType, Record, TimeUs
from streams.admission import Admission, Outgoing
from streams.clock import DrivenClock
from streams.directory import CallDirectory
from streams.kafka import Consumed
from streams.offsets import Receipt

S = 1_000_000
START: TimeUs = 1_767_607_200_000_000
WAIT_US = 10 * S


def _no_other(number: int) -> str:
    raise KeyError(number)


IDS = {topic.value_schema: number for number, topic in enumerate(TOPICS.values(), start=1) if topic.value_schema}
CODEC = Codec(IDS, _no_other)


class Out(NamedTuple):
    """An outgoing record, decoded."""

    topic: str
    value: Record
    key: str | bytes | None
    partition: int
    timestamp_ms: int
    headers: dict[str, bytes]


class Desk:
    """An admission with a driven clock and the receipts of all that it was given."""

    def __init__(self, *, limit: int = 100, partitions: int = 4, dead_letter_limit: int = 0) -> None:
        self.clock = DrivenClock()
        self.clock.observe(START)
        self.calls = CallDirectory()
        self.admission = Admission(
            CODEC,
            self.clock,
            self.calls,
            partitions=partitions,
            wait_us=WAIT_US,
            limit=limit,
            dead_letter_limit=dead_letter_limit,
        )
        self.receipts: list[Receipt] = []

    def take(self, value: Record | bytes | None, *, partition: int = 0, **more: object) -> list[Out]:
        """Gives a record, or raw bytes of a topic, telephony.events unless named; returns what comes out."""
        topic = TOPIC_OF[type(value)] if isinstance(value, Record) else str(more.get("topic", "telephony.events"))
        data = CODEC.encode(value) if isinstance(value, Record) else value
        receipt = Receipt(len(self.receipts))
        self.receipts.append(receipt)
        headers = more.get("headers", [])
        consumed = Consumed(topic, partition, receipt.offset, b"any key", data, headers, None)  # type: ignore[arg-type]
        return read(self.admission.take(consumed, receipt))


def read(outgoing: list[Outgoing]) -> list[Out]:
    """Outgoing records, decoded."""
    return [
        Out(
            out.topic,
            CODEC.decode(TOPICS[out.topic].value or Record, out.value),
            out.key,
            out.partition,
            out.timestamp_ms,
            dict(out.headers),
        )
        for out in outgoing
    ]


def call(
    event_id: str, *, lead: str | None = None, call_id: str = "CA1", kind: CallEventType = CallEventType.CALL_RINGING
) -> CallEvent:
    """An event of a call."""
    return records.CallEvent(
        event_id=event_id,
        lead_id=records.LeadId(lead) if lead else None,
        provider="twilio",
        call_id=call_id,
        type=kind,
        received_at=START,
    )


def journaled(outs: list[Out]) -> list[str]:
    """Event ids in the journal, in order."""
    return [out.value.body.event_id for out in outs if isinstance(out.value, records.JournalEntry)]  # type: ignore[union-attr]
