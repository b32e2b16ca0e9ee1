"""What becomes of one input record: journal entries, a wait for its lead, or a dead letter. No I/O.

Outputs are returned, in the order they must be sent. Every output holds the receipt of its input until it is
delivered; a record that waits holds its own, so that its offset is not committed.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from deploy.errors import told
from processors import intake as core
from processors.ids import derive
from processors.perception.fields import shown
from schemas.catalogue import TOPICS
from schemas.codec import MAX_BYTES, Codec, CodecError
from schemas.headers import Headers, cloud_event, dead_letter, trace_of
from schemas.partitioner import partition_of
from schemas.records import (
    CallDirectoryEntry,
    DeadLetter,
    DeadLetterCode,
    EntryKind,
    JournalEntry,
    LeadId,
    Record,
    TimeUs,
)
from streams import directory
from streams.clock import Clock
from streams.dead_letter_rate import DeadLetterRate
from streams.directory import CallDirectory
from streams.kafka import Consumed
from streams.offsets import Place, Receipt
from streams.waiting import Arrival, Call, Waiting, WaitingRoom

JOURNAL, DEAD_LETTERS = "execution.journal", "dead.letters"
SOURCE = "/mandate/intake"
STAGE = "intake"


class Outgoing(NamedTuple):
    """A record to send; `receipt` is released once the broker holds it. partition -1: the key chooses."""

    topic: str
    value: bytes
    key: str | bytes | None
    headers: Headers
    partition: int
    timestamp_ms: int
    receipt: Receipt


class Admission:
    """The judgement of one intake over the records that it is given.

    partitions: how many the journal has. wait_us: how long a record waits for its lead. limit: how many may wait.
    dead_letter_limit: dead letters of an input partition in a minute, past which BadInput is raised; 0: never.
    behind: how far control is behind where a lead's entries lie, in microseconds; requests bear it.
    """

    def __init__(
        self,
        codec: Codec,
        clock: Clock,
        calls: CallDirectory,
        *,
        partitions: int,
        wait_us: int,
        limit: int,
        dead_letter_limit: int = 0,
        behind: Callable[[LeadId], int] = lambda _: 0,
    ) -> None:
        self._codec = codec
        self._clock = clock
        self._calls = calls
        self._partitions = partitions
        self._wait_us = wait_us
        self._room = WaitingRoom(limit)
        self._rate = DeadLetterRate(dead_letter_limit)
        self._behind = behind
        # Never 0: a record timestamp of 0 means "the wall clock" to the Kafka client.
        self._last_at: TimeUs = 1000

    @property
    def waiting(self) -> int:
        """How many records wait for their lead."""
        return len(self._room)

    def take(self, record: Consumed, receipt: Receipt) -> list[Outgoing]:
        """Judges a consumed record."""
        arrival = Arrival(None, record, receipt)
        expected = TOPICS[record.topic].value
        if expected is None:
            raise ValueError(f"{record.topic} is not an input: its values have no schema")
        try:
            decoded: Record = self._codec.decode(expected, record.value)
        except CodecError as error:
            return self._refuse(arrival, error.code, str(error))
        return self._judge(arrival._replace(value=decoded), self._clock.now() + self._wait_us)

    def take_news(self) -> list[Outgoing]:
        """Judges again what waited for calls that another intake learned; calls of long ago are forgotten."""
        self._calls.forget(self._clock.now())
        return [out for call in self._calls.take_news() for out in self._let_go(call)]

    def expire(self) -> list[Outgoing]:
        """Dead letters for those that have waited their time.

        To be called when every input was read to its end: what would tell a lead may lie unread behind.
        """
        expired = self._room.take_expired(self._clock.now())
        return [out for record in expired for out in self._judge(record.arrival, None)]

    def forget(self, places: set[Place]) -> None:
        """Drops what waits from places that another intake reads from now on."""
        self._room.forget(places)
        self._rate.forget(places)

    def _judge(self, arrival: Arrival, deadline: TimeUs | None) -> list[Outgoing]:
        """deadline None: it has waited its time."""
        outcome = self._admit(arrival)
        if isinstance(outcome, core.Refused):
            return self._refuse(arrival, outcome.code, outcome.error)
        if isinstance(outcome, core.Unresolved):
            call = (outcome.provider, outcome.call_id)
            if deadline is None:
                return self._give_up(arrival, call)
            ousted = self._room.add(Waiting(call, arrival, deadline))
            return [] if ousted is None else self._judge(ousted.arrival, None)
        out = self._learn(outcome.learned, arrival.receipt)
        released = [let for entry in outcome.learned for let in self._let_go((entry.provider, entry.call_id))]
        if released:
            # They were stamped just now; this record comes after them, so its stamp must too.
            outcome = self._admit(arrival)
            if not isinstance(outcome, core.Admitted):
                raise TypeError("a record that told its lead must be admitted again")
        return out + released + self._append(outcome.entries, arrival)

    def _admit(self, arrival: Arrival) -> core.Admitted | core.Unresolved | core.Refused:
        if arrival.value is None:
            raise ValueError("a record that was not decoded is not judged")
        self._last_at = at = max(self._clock.now(), self._last_at)
        source = core.Source(
            topic=arrival.record.topic,
            partition=arrival.record.partition,
            offset=arrival.record.offset,
            traceparent=trace_of(arrival.record.headers),
        )
        try:
            return core.admit(arrival.value, source, at, self._calls)
        except MemoryError:
            raise
        except Exception as error:
            # Pure code that fails on a record fails on it for ever: one record must not hold up its partition.
            reason = f"Mandate failed on it ({told(error)}): a defect, please report it"
            return core.Refused(DeadLetterCode.UNKNOWN, reason)

    def _learn(self, entries: Iterable[CallDirectoryEntry], receipt: Receipt) -> list[Outgoing]:
        out = []
        for entry in entries:
            known = self._calls.get((entry.provider, entry.call_id))
            if known and (known.lead_id, known.conversation_id) == (entry.lead_id, entry.conversation_id):
                continue
            self._calls.learn(entry)
            headers = cloud_event(
                entry, id=directory.key(entry), source=SOURCE, subject=entry.lead_id, at=entry.seen_at
            )
            body = self._codec.encode(entry)
            out.append(_hold(receipt, directory.TOPIC, body, directory.key(entry), headers, entry.seen_at))
        return out

    def _let_go(self, call: Call) -> list[Outgoing]:
        return [out for record in self._room.take(call) for out in self._judge(record.arrival, record.deadline)]

    def _append(self, entries: tuple[JournalEntry, ...], arrival: Arrival) -> list[Outgoing]:
        entries = tuple(self._measured(entry) for entry in entries)
        bodies = [self._codec.encode(entry) for entry in entries]
        largest = max(map(len, bodies), default=0)
        if largest > MAX_BYTES:
            error = f"its journal entry has {largest} bytes; at most {MAX_BYTES} are taken"
            return self._refuse(arrival, DeadLetterCode.TOO_LARGE, error)
        out = []
        for entry, body in zip(entries, bodies, strict=True):
            everywhere = entry.kind is EntryKind.POLICY
            headers = cloud_event(
                entry,
                id=entry.entry_id,
                source=SOURCE,
                subject=entry.lead_id,
                at=entry.at,
                traceparent=entry.traceparent,
            )
            out += [
                _hold(arrival.receipt, JOURNAL, body, entry.lead_id or None, headers, entry.at, number)
                for number in (range(self._partitions) if everywhere else (self._partition_of(entry.lead_id),))
            ]
        arrival.receipt.release()
        return out

    def _partition_of(self, lead_id: LeadId) -> int:
        return partition_of(lead_id, self._partitions) if lead_id else -1

    def _measured(self, entry: JournalEntry) -> JournalEntry:
        if entry.kind is not EntryKind.REQUEST:
            return entry
        return msgspec.structs.replace(entry, behind_us=self._behind(entry.lead_id))

    def _give_up(self, arrival: Arrival, call: Call) -> list[Outgoing]:
        provider, call_id = call
        error = (
            f"no lead is known for call {shown(call_id)} of {shown(provider)} after {self._wait_us / 1e6:g} s: name "
            "the lead in the event or in the call's own metadata, and send the call's first event"
        )
        return self._refuse(arrival, DeadLetterCode.UNRESOLVED_LEAD, error)

    def _refuse(self, arrival: Arrival, code: DeadLetterCode, error: str) -> list[Outgoing]:
        self._last_at = at = max(self._clock.now(), self._last_at)
        self._rate.note(arrival.record, code, error, at)
        topic, partition, offset, key, value, given, _ = arrival.record
        originals = {name: content or b"" for name, content in given}
        letter = DeadLetter(
            dead_letter_id=derive("dead-letter", topic, partition, offset),
            topic=topic,
            partition=partition,
            offset=offset,
            key=key,
            value=value,
            headers=originals,
            code=code,
            error=error,
            stage=STAGE,
            at=at,
        )
        headers = dead_letter(
            originals, topic=topic, partition=partition, offset=offset, stage=STAGE, code=code, error=error
        )
        body = self._codec.encode(letter)
        out = [_hold(arrival.receipt, DEAD_LETTERS, body, key, headers, at)]
        arrival.receipt.release()
        return out


def _hold(
    receipt: Receipt,
    topic: str,
    value: bytes,
    key: str | bytes | None,
    headers: Headers,
    at: TimeUs,
    partition: int = -1,
) -> Outgoing:
    receipt.hold()
    return Outgoing(topic, value, key, headers, partition, at // 1000, receipt)
