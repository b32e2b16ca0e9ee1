"""Intake and fold with no broker: JSON lines in, JSON lines out (`mandate decide`).

The journal's clock is each line's `at`. Lines may be on any input topic, or on `execution.journal`: then intake is
passed over and the entry's own partition and offset are kept, which re-derives what a cluster decided. The same lines
give the same bytes, always.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from processors.authority import Court
from processors.draft import Output
from processors.ids import derive
from processors.intake import Admitted, Refused, Source, Unresolved, admit
from processors.partition import Gap, Partition
from processors.policy import Bundle
from schemas.catalogue import EVENT_INPUTS, TOPIC_OF, TOPICS
from schemas.codec import KIND_OF
from schemas.jsonio import JsonError, from_json, parse_time, to_json
from schemas.records import (
    CallDirectoryEntry,
    DeadLetter,
    DeadLetterCode,
    EntryKind,
    JournalEntry,
    LeadId,
    PolicyActivation,
    PolicySignature,
    ProviderWebhook,
    Record,
    Revocation,
    RevocationScope,
    Tick,
    TimeUs,
)

JOURNAL = "execution.journal"


class MemoryRows:
    """Rows of a partition in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return ((key, value) for key, value in sorted(self.rows.items()) if key.startswith(prefix))


class _Waiting(NamedTuple):
    """A record whose lead is not known yet."""

    value: Record
    source: Source
    deadline: TimeUs
    line: bytes


class Offline:
    """One run: an in-memory journal partition for typed input, one per partition for exported journals."""

    def __init__(self, court: Court, bundle: Bundle | None, *, unresolved_wait_s: float = 10.0) -> None:
        self._court = court
        self._wait_us = int(unresolved_wait_s * 1_000_000)
        self._partitions: dict[int, Partition] = {}
        self._directory: dict[tuple[str, str], CallDirectoryEntry] = {}
        self._waiting: list[_Waiting] = []
        self._now: TimeUs = 0
        self._next_offset = 0
        self._line = -1
        self._bundle = bundle

    def run(self, lines: Iterable[str]) -> Iterator[str]:
        """Printed records for input lines, in order; what still waits at the end becomes dead letters."""
        for line in lines:
            self._line += 1
            if line.strip():
                yield from map(_print, self._take(line))
        yield from map(_print, self._give_up(None))

    def _take(self, line: str) -> list[Record]:
        raw = line.rstrip("\n").encode("utf-8", "surrogatepass")
        try:
            parsed = json.loads(line)
            topic, at, value = self._read_line(parsed)
        except (JsonError, RecursionError, ValueError) as error:
            return [self._dead(raw, DeadLetterCode.BAD_VALUE, str(error) or type(error).__name__)]
        if isinstance(value, JournalEntry):
            place = (parsed.get("partition", 0), parsed.get("offset", self._next_offset))
            if not all(isinstance(number, int) for number in place):
                return [self._dead(raw, DeadLetterCode.BAD_VALUE, "partition and offset must be integers")]
            return self._journal(value, *place, raw)
        self._now = max(self._now, at)
        records = self._give_up(self._now)
        records += self._tick()
        return records + self._admit(value, Source(topic=topic, partition=0, offset=self._line, traceparent=None), raw)

    def _read_line(self, parsed: Any) -> tuple[str, TimeUs, Record]:
        if not isinstance(parsed, dict):
            raise JsonError('a line is an object: {"topic": ..., "at": ..., "lead_id": ..., "value": {...}}')
        topic = parsed.get("topic")
        if topic == "clock.driven":
            raise JsonError("clock.driven is not an input; every line carries its own `at`")
        if topic not in (*EVENT_INPUTS, JOURNAL):
            raise JsonError(f"topic: {topic!r} is not one of {', '.join((*EVENT_INPUTS, JOURNAL))}")
        record = TOPICS[str(topic)].value
        assert record is not None
        value = parsed.get("value")
        if isinstance(value, dict) and "lead_id" in parsed and topic != JOURNAL and record is not ProviderWebhook:
            value = {"lead_id": parsed["lead_id"], **value} if record is not PolicyActivation else value
        read = from_json(record, value)
        if isinstance(read, JournalEntry):
            return JOURNAL, read.at, read
        try:
            return str(topic), parse_time(parsed["at"]), read
        except (KeyError, TypeError, ValueError) as error:
            raise JsonError(f"at: expected the ISO 8601 time of the journal, with a zone ({error})") from error

    # --- intake
    def _admit(self, value: Record, source: Source, raw: bytes) -> list[Record]:
        admission = admit(value, source, self._now, self._directory)
        if isinstance(admission, Refused):
            return [self._dead(raw, admission.code, admission.error, source)]
        if isinstance(admission, Unresolved):
            self._waiting.append(_Waiting(value, source, self._now + self._wait_us, raw))
            return []
        return self._append(admission)

    def _append(self, admission: Admitted) -> list[Record]:
        records: list[Record] = []
        for learned in admission.learned:
            self._directory[learned.provider, learned.call_id] = learned
        # What waited for this call came before the record that tells whose it is.
        if admission.learned:
            ready, self._waiting = self._waiting, []
            for waiting in ready:
                again = admit(waiting.value, waiting.source, self._now, self._directory)
                if isinstance(again, Admitted):
                    records += self._append(again)
                else:
                    self._waiting.append(waiting)
        for entry in admission.entries:
            records += self._apply(entry)
        return records

    def _give_up(self, now: TimeUs | None) -> list[Record]:
        """Dead letters of what waited too long; of all that waits when there is no more input."""
        over = [w for w in self._waiting if now is None or w.deadline <= now]
        self._waiting = [w for w in self._waiting if w not in over]
        message = (
            "no lead is known for this call: send the lead id with the event, or an event that ties the call to it"
        )
        return [self._dead(w.line, DeadLetterCode.UNRESOLVED_LEAD, message, w.source) for w in over]

    # --- fold
    def _partition(self, number: int) -> Partition:
        if number not in self._partitions:
            self._partitions[number] = Partition(number, MemoryRows(), self._court)
        return self._partitions[number]

    def _apply(self, entry: JournalEntry) -> list[Record]:
        if self._next_offset == 0 and self._bundle is not None:
            self._next_offset = 1
            self._partition(0).apply(self._activation(self._bundle, entry.at), 0)
        offset, self._next_offset = self._next_offset, self._next_offset + 1
        return _values(self._partition(0).apply(entry, offset))

    def _tick(self) -> list[Record]:
        """A tick, when a timer is due before this line: offline, nobody else moves time."""
        due = self._partition(0).next_due()
        records: list[Record] = []
        while due is not None and due <= self._now:
            entry = _entry(EntryKind.TICK, Tick(tick_id=derive("tick", due), at=due), due)
            records += [record for record in self._apply(entry) if not _is_heartbeat(record)]
            due = self._partition(0).next_due()
        return records

    def _journal(self, entry: JournalEntry, partition: int, offset: int, raw: bytes) -> list[Record]:
        self._next_offset = offset + 1
        try:
            return _values(self._partition(partition).apply(entry, offset))
        except Gap as gap:
            return [self._dead(raw, DeadLetterCode.BAD_VALUE, str(gap))]

    def _activation(self, bundle: Bundle, at: TimeUs) -> JournalEntry:
        digest = bundle.digest()
        signer = self._court.signer
        activation = PolicyActivation(
            activation_id=derive("activation", digest), version=bundle.version, revision=1, digest=digest,
            bundle=bundle.canonical_json(), approved_by="offline", reason="given to mandate decide",
            signatures=(PolicySignature(key_id=signer.kid, signature=signer.approve(digest)),),
        )  # fmt: skip
        return _entry(EntryKind.POLICY, activation, at)

    def _dead(self, raw: bytes, code: DeadLetterCode, error: str, source: Source | None = None) -> DeadLetter:
        topic = source.topic if source else ""
        offset = source.offset if source else self._line
        return DeadLetter(
            dead_letter_id=derive("dead-letter", topic, 0, offset), topic=topic, partition=0, offset=offset, value=raw,
            code=code, error=error, stage="intake", at=self._now,
        )  # fmt: skip


def _entry(kind: EntryKind, body: Tick | PolicyActivation, at: TimeUs) -> JournalEntry:
    assert KIND_OF[type(body)] is kind
    return JournalEntry(
        entry_id=derive("entry", kind, at), lead_id=LeadId(""), kind=kind, at=at, source_topic="", source_partition=-1,
        source_offset=-1, body=body,
    )  # fmt: skip


def _is_heartbeat(record: Record) -> bool:
    """The feed's heartbeat; offline nobody listens for it."""
    return isinstance(record, Revocation) and record.scope is RevocationScope.HEARTBEAT


def _values(outputs: list[Output]) -> list[Record]:
    return [output.value for output in outputs]


def _print(value: Record) -> str:
    topic = TOPIC_OF[type(value)]
    return json.dumps({"topic": topic, "value": to_json(value)}, ensure_ascii=False, separators=(",", ":"))
