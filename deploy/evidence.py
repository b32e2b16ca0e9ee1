"""Where `mandate explain` finds a decision and its journal: the topics of a cluster, or a file of `mandate tail`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from deploy.settings import Settings
from schemas.codec import CodecError, encode
from schemas.jsonio import JsonError, from_json
from schemas.records import Decision, JournalEntry, LeadId, Position, Record

JOURNAL, DECISIONS = "execution.journal", "permission.decisions"
_PROGRESS_EVERY_S = 2.0
_BATCH = 1_000

if TYPE_CHECKING:
    from confluent_kafka import Message

R = TypeVar("R", bound=Record)
Line = dict[str, Any]
"""A line of a file, parsed."""
Entries = Iterator[tuple[JournalEntry | None, int]]
"""Journal entries with their offsets; None for one that is of no use."""


class Recorded(NamedTuple):
    """A decision as it is recorded. body: its Avro encoding."""

    decision: Decision
    body: bytes


class Source(Protocol):
    """A place to read from."""

    def decisions(self, wanted: str) -> list[Recorded]:
        """Recorded decisions of this decision id or request id, as they lie there."""

    def journal(self, until: Position, lead_id: LeadId) -> Entries:
        """The journal partition up to a place; entries of other leads are None."""


class ExportError(ValueError):
    """A file that is no export of the journal. The operator exports it again with `mandate tail`."""


class Progress:
    """Says on stderr how far a long reading is."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._next = time.monotonic() + _PROGRESS_EVERY_S
        self._done = 0

    def step(self) -> None:
        self._done += 1
        if self._done % 1000 == 0 and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PROGRESS_EVERY_S
            of = f" of {self._total:,}" if self._total else ""
            print(f"mandate: {self._done:,}{of} {self._what} read", file=sys.stderr, flush=True)


class Topics:
    """The topics of the cluster that the settings name."""

    def __init__(self, settings: Settings) -> None:
        from streams.registry import connect

        self._settings = settings
        self._codec = connect(settings)

    def decisions(self, wanted: str) -> list[Recorded]:
        """Scans permission.decisions; a record without these letters in it is not even decoded."""
        needle = wanted.encode("utf-8", "surrogatepass")
        found = []
        for value in self._all_decisions():
            if needle not in value:
                continue
            try:
                decision = self._codec.decode(Decision, value)
            except CodecError as error:
                print(f"mandate: a record of {DECISIONS} can't be read: {error}", file=sys.stderr)
                continue
            if wanted in (decision.decision_id, decision.request_id):
                found.append(Recorded(decision, self._body(decision, value)))
        return found

    def _all_decisions(self) -> Iterator[bytes]:
        from streams.kafka import follow

        done: list[bool] = []
        progress = Progress(f"records of {DECISIONS}", 0)
        for message in follow(self._settings, [DECISIONS], stop=lambda: bool(done), ready=lambda: done.append(True)):
            progress.step()
            yield message.value() or b""

    def _body(self, decision: Decision, value: bytes) -> bytes:
        """The Avro body as recorded; encoded again when it was written with another version of the schema."""
        prefix = self._codec.encode(decision)[:5]
        return value[5:] if value[:5] == prefix else encode(decision)

    def journal(self, until: Position, lead_id: LeadId) -> Entries:
        """Reads the partition; an entry without the lead's id in it, and with a key, is not even decoded."""
        needle = lead_id.encode("utf-8", "surrogatepass")
        for message in records_of(self._settings, JOURNAL, until.partition, until.offset):
            key, value = message.key(), message.value()
            entry = None
            if value is not None and (not key or needle in value):
                try:
                    entry = self._codec.decode(JournalEntry, value)
                except CodecError:
                    entry = None  # control passed over it too, with a dead letter
            yield entry, message.offset() or 0


def records_of(
    settings: Settings, topic: str, number: int, until: int | None = None, *, group: str = "mandate-explain"
) -> Iterator[Message]:
    """Records of a partition, from its oldest to an offset, or to what is its end now. group: only for its rights."""
    from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

    from streams import Broken
    from streams.kafka import CHECK_BROKERS, at_end, checked, make_consumer

    consumer = make_consumer(settings, group, **{"enable.partition.eof": True})
    try:
        place = TopicPartition(topic, number, OFFSET_BEGINNING)
        low, high = consumer.get_watermark_offsets(place, timeout=15)
        until = high - 1 if until is None else until
        progress = Progress(f"records of {topic}/{number}", min(high, until + 1) - low)
        consumer.assign([place])
        while True:
            for message in consumer.consume(_BATCH, 1.0):
                record = checked(message)
                if at_end(message) or (record is not None and (record.offset() or 0) > until):
                    return
                if record is not None:
                    progress.step()
                    yield record
    except KafkaException as error:
        raise Broken(f"{topic} can't be read ({error.args[0].str()}).", CHECK_BROKERS) from error
    finally:
        consumer.close()


class Export:
    """A file of `mandate tail`: lines of execution.journal, and of permission.decisions where it has any."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def decisions(self, wanted: str) -> list[Recorded]:
        """The file's decisions of this id."""
        found = [self._value(Decision, number, line) for number, line in self._lines(DECISIONS)]
        return [Recorded(d, encode(d)) for d in found if d is not None and wanted in (d.decision_id, d.request_id)]

    def journal(self, until: Position, lead_id: LeadId) -> Entries:
        """Reads the partition's lines, up to a place."""
        for number, line in self._lines(JOURNAL):
            partition, offset = self._place(number, line)
            if partition == until.partition and offset <= until.offset:
                value = line.get("value")
                ours = isinstance(value, dict) and value.get("lead_id") in (lead_id, "")
                yield self._value(JournalEntry, number, line) if ours else None, offset

    def entries(self) -> Iterator[tuple[int, int, JournalEntry | None]]:
        """Every journal entry with its partition and offset; None for one that was no entry when it was exported."""
        for number, line in self._lines(JOURNAL):
            yield *self._place(number, line), self._value(JournalEntry, number, line)

    def _place(self, number: int, line: Line) -> tuple[int, int]:
        partition, offset = line.get("partition"), line.get("offset")
        if not isinstance(partition, int) or not isinstance(offset, int):
            raise ExportError(f"{self._file}:{number}: a line of {JOURNAL} needs its partition and offset.")
        return partition, offset

    def _lines(self, topic: str) -> Iterator[tuple[int, Line]]:
        """Lines of a topic with their numbers; a line without its name in it is not even parsed."""
        try:
            progress = Progress(f"lines of {self._file.name}", 0)
            with self._file.open(encoding="utf-8", errors="surrogateescape") as lines:
                for number, text in enumerate(lines, 1):
                    progress.step()
                    if topic in text and (line := self._parsed(number, text)).get("topic") == topic:
                        yield number, line
        except OSError as error:
            raise ExportError(f"{self._file} can't be read: {error.strerror}.") from error

    def _parsed(self, number: int, text: str) -> Line:
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ExportError(f"{self._file}:{number}: no JSON ({error}).") from error
        if not isinstance(parsed, dict):
            raise ExportError(f"{self._file}:{number}: a line is an object, as `mandate tail` prints it.")
        return parsed

    def _value(self, record: type[R], number: int, line: Line) -> R | None:
        """The line's record; None where `mandate tail` could not read it either."""
        value = line.get("value")
        if isinstance(value, dict) and set(value) == {"error", "bytes"}:
            return None
        try:
            return from_json(record, value)
        except JsonError as error:
            raise ExportError(f"{self._file}:{number}: {error}.") from error
