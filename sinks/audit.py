"""The audit sink: lands every record of the audited topics in the lake, once.

The order within one round, and what each step survives:

1. Read records from the offsets that the tables hold; rows collect in memory. A kill loses only what is read again.
2. When the interval is over, or enough has come: one commit a table, rows and offsets together. A kill leaves the
   whole commit or nothing of it.
3. Say it on audit.checkpoints, and wait until the broker holds it. A kill before that: the next start says it
   again, with the same id and the same bytes.

What can't be decoded lands too, as bytes with the reason: the lake lacks no offset.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from processors.ids import derive
from schemas import headers
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec, CodecError
from schemas.records import AuditCheckpoint, Record
from sinks.columns import Row, row_maker, table_of, table_schema
from sinks.complete import completeness
from sinks.consume import Place, Reader, Stop
from sinks.lake import AUDITED, Commit, LandingTable, Span, open_catalog
from streams.clock import make_clock
from streams.kafka import Consumed, make_producer
from streams.metrics import sinks as metrics
from streams.registry import connect
from streams.sender import Sender

if TYPE_CHECKING:
    from deploy.settings import Settings

__all__ = ["AUDITED", "AuditSink", "completeness", "serve"]

SOURCE, NAME = "/mandate/sinks/audit", "audit-sink"
COMMIT_INTERVAL_S = 5.0
_BATCH, _POLL_S = 2000, 0.2
_MAX_ROWS, _MAX_BYTES = 20_000, 64_000_000


def serve(
    settings: "Settings",
    *,
    once: bool = False,
    commit_interval_s: float = COMMIT_INTERVAL_S,
    skip_lost: bool = False,
    stop: Stop | None = None,
    ready: Callable[[str], None] = print,
) -> int:
    """Runs the sink until `stop`, or with `once` until all there is has landed; returns how many records did."""
    sink = AuditSink(settings, skip_lost=skip_lost)
    try:
        sink.repeat_checkpoints()
        ready(f"audit sink ready: {len(AUDITED)} topics into {settings.lake_dir}")
        return sink.run(stop or Stop(), once, commit_interval_s)
    finally:
        sink.close()


class _Audited(NamedTuple):
    """How a topic's records become rows."""

    record: type[Record]
    schema: pa.Schema
    columns_of: Callable[[Record], Row]


@dataclass(slots=True)
class _Pending:
    """Rows of one table that are not committed yet."""

    rows: list[Row] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    spans: dict[int, Span] = field(default_factory=dict)

    def add(self, row: Row, value: bytes | None, partition: int, offset: int) -> None:
        self.rows.append(row)
        self.values.append(value)
        first, _, count = self.spans.get(partition, (offset, 0, 0))
        self.spans[partition] = Span(first, offset + 1, count + 1)


class AuditSink:
    """One run of the sink."""

    def __init__(self, settings: "Settings", *, skip_lost: bool) -> None:
        catalog = open_catalog(settings)
        self._reader = Reader(settings, NAME, tuple(AUDITED))
        cluster_id = self._reader.cluster_id()
        self._tables = {topic: LandingTable(catalog, topic, cluster_id) for topic in AUDITED}
        stored = {
            Place(topic, partition): offset
            for topic, table in self._tables.items()
            for partition, offset in table.offsets.items()
        }
        self._codec: Codec = connect(settings)
        self._clock = make_clock(settings)
        self._sender = Sender(make_producer(settings, **{"client.id": NAME}))
        self._audited = {
            topic: _Audited(value, table_schema(value), row_maker(value)) for topic, value in AUDITED.items()
        }
        self._ingested_by = f"{NAME}@{socket.gethostname()}"
        self._pending: dict[str, _Pending] = {}
        self._bytes = 0
        self._reader.begin(stored, skip_lost=skip_lost)

    def run(self, stop: Stop, once: bool, interval_s: float) -> int:
        """The loop; see the module's text for its order. What was read is committed before it returns."""
        landed, flushed = 0, time.monotonic()
        while not stop.requested:
            messages = self._reader.read(_BATCH, _POLL_S)
            for message in messages:
                self._take(message)
            self._show()
            if once and self._reader.caught_up:
                break
            if self._full() or time.monotonic() - flushed >= interval_s:
                landed += self.flush()
                flushed = time.monotonic()
        return landed + self.flush()

    def flush(self) -> int:
        """Commits what is pending, a table after the other; returns how many records."""
        landed = 0
        for topic, pending in self._pending.items():
            data = table_of(pending.rows, pending.values, self._audited[topic].schema)
            began = time.perf_counter()
            commit = self._tables[topic].land(data, pending.spans, self._clock.now())
            metrics.audit_landed(topic, pending.rows, time.perf_counter() - began)
            self._announce(commit)
            landed += len(pending.rows)
        self._sender.flush()
        self._pending.clear()
        self._bytes = 0
        return landed

    def repeat_checkpoints(self) -> None:
        """Announces each table's last commit again: the run that made it may have ended before it could."""
        for table in self._tables.values():
            commit = table.last_commit()
            if commit is not None:
                self._announce(commit)
        self._sender.flush()

    def close(self) -> None:
        """Leaves the broker; what was read and not committed is read again."""
        self._reader.close()
        self._clock.close()

    def _show(self) -> None:
        metrics.AUDIT_PENDING.set(sum(len(pending.rows) for pending in self._pending.values()))
        self._reader.show_lag(metrics.AUDIT_LAG)

    def _full(self) -> bool:
        return self._bytes >= _MAX_BYTES or sum(len(p.rows) for p in self._pending.values()) >= _MAX_ROWS

    def _take(self, message: Consumed) -> None:
        topic, partition, offset, key, value, _, timestamp_ms = message
        row: Row = {
            "_topic": topic,
            "_partition": partition,
            "_offset": offset,
            "_timestamp": timestamp_ms * 1000 if timestamp_ms is not None else None,
            "_key": key.decode("utf-8", "replace") if key is not None else None,
            "_ingested_by": self._ingested_by,
        }
        audited = self._audited[topic]
        try:
            if value is not None:
                record = self._codec.decode(audited.record, value)
                row |= audited.columns_of(record)
                self._clock.observe(row["at"])
        except CodecError as error:
            row |= {"_error": str(error)[:500], "_raw": value}
        self._pending.setdefault(topic, _Pending()).add(row, value, partition, offset)
        self._bytes += len(value or b"")

    def _announce(self, commit: Commit) -> None:
        for partition, span in commit.spans.items():
            checkpoint = AuditCheckpoint(
                checkpoint_id=derive("checkpoint", commit.table, commit.snapshot_id, partition),
                table=commit.table,
                snapshot_id=commit.snapshot_id,
                topic=commit.topic,
                partition=partition,
                first_offset=span.first,
                next_offset=span.next,
                records=span.records,
                at=commit.at,
            )
            event = headers.cloud_event(
                checkpoint, id=checkpoint.checkpoint_id, source=SOURCE, subject=commit.table, at=commit.at
            )
            self._sender.send(
                TOPIC_OF[AuditCheckpoint],
                self._codec.encode(checkpoint),
                key=commit.table,
                headers=event,
                timestamp_ms=commit.at // 1000,
            )
