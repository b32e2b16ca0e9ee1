"""Control: judges the journal. One lane for each partition that this worker owns.

A lane does with each entry, in this order:

1. decode and fold it as soon as it comes; what somebody waits for (`PROMPT`) is handed to the producer at once;
2. hand over the rest, and wait until the broker has acknowledged every output;
3. write the changed rows: changelog, its acknowledgement, then RocksDB;
4. acknowledge the entries, so that they may be committed.

Step 1 is done in the thread that reads the journal, with no queue between. Steps 2 to 4, the landing, are done on the
loop, for all entries judged so far together, while those that come next are judged: a verdict never waits for the rows
of others. One landing ends before the next begins, so the order holds for every entry.

Whatever ends the process between two of these, the next owner reads the entries again from the last row written.
Before 3 the rows are as they were and the same outputs come again, byte for byte; after 3 the entries are passed
over. Tests: `tests/faults/test_kill_control.py`. Nothing here catches an error to go on: a gap in the offsets, a
failed delivery or a defect ends the process (`streams.end_process`), a record that can't be read is a dead letter.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from processors.draft import Output
from processors.law import Law
from processors.partition import Changes
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec, CodecError
from schemas.headers import cloud_event, dead_letter
from schemas.records import DeadLetter, Decision, Directive, EntryKind, JournalEntry, Revocation
from schemas.rows import RowError
from streams import end_process
from streams.clock import Clock
from streams.kafka import Consumed
from streams.metrics import control as metrics
from streams.tables import ExecutionTable, Rows
from streams.tracing import Spans, of_entry
from streams.transport.outbox import Deliveries, Outbox, Outboxes

log = logging.getLogger("mandate.control")
JOURNAL = TOPIC_OF[JournalEntry]
DEAD_LETTERS = TOPIC_OF[DeadLetter]
SOURCE = "/mandate/control"
STAGE = metrics.STAGE
# After so many records of a landing the loop looks at what else is ready.
_TURN = 4
# Two threads that both want the interpreter hand it to and fro, each time through the scheduler, and a verdict that
# takes 1 ms took 5 to 8 beside a landing. So a landing waits while something is judged, but not for long: under a
# backlog something always is.
_GIVE_WAY_S = 0.001
_GIVES_WAY_FOR_S = 0.05
# A landing gathers so long: rows of a lead that changes often are written once, and requests to the broker are few and
# large. No verdict waits for it; a process that ends then has that much more to repeat.
_GATHER_S = 0.1
PROMPT = frozenset((Decision, Revocation, Directive))
"""Outputs that somebody waits for. All others are sent by the landing, many at a time; a topic is one or the other."""


class Fold(Protocol):
    """What a lane folds with; `processors.partition.Partition` is the real one."""

    @property
    def applied_offset(self) -> int | None:
        """Last entry applied; None before the first."""

    @property
    def law(self) -> Law | None:
        """The policy that the next entry is judged by."""

    @property
    def leads_at_hand(self) -> int:
        """Leads kept decoded."""

    def apply(self, entry: JournalEntry, offset: int) -> list[Output]:
        """Outputs of an entry; raises when entries before it are missing."""

    def skip(self, offset: int) -> None:
        """Counts an entry that can't be read."""

    def take_changes(self) -> Changes:
        """What changed since the last call; its rows may be encoded while other entries are applied."""


class Judging:
    """Whether the thread that reads judges something just now; of all lanes of a worker."""

    def __init__(self) -> None:
        self.is_going_on = False


MakeFold = Callable[[int, Rows], Fold]
Acknowledge = Callable[[int, int], None]


class Lane:
    """One partition, from the moment it is taken over until it is given up. Make it on the loop.

    Two threads work here: the reader's judges (`take`), the loop lands (`run`). The fold, and what was judged and is
    not landing yet, belong to whoever holds the lock.
    """

    def __init__(
        self,
        number: int,
        fold: Fold,
        outboxes: Outboxes,
        table: ExecutionTable,
        codec: Codec,
        clock: Clock,
        judging: Judging,
        spans: Spans | None = None,
    ) -> None:
        self.number = number
        self.fold = fold
        self._judging = judging
        self._prompt, self._gathering = outboxes
        self._table = table
        self._codec = codec
        self._clock = clock
        self._spans = spans
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._outputs = self._prompt.open()
        self._later: list[tuple[Output, JournalEntry]] = []
        self._judged = asyncio.Event()
        self._last = -1
        # Bounded by what the transport lets wait (`fetch.FULL`), far below the leads that the fold keeps at hand: none
        # is read from the disk before its row is there.
        self._in_hand = 0
        self._closing = False
        self.meter = metrics.Meter(number, fold, clock)

    @property
    def waiting(self) -> int:
        """Entries that are judged and not acknowledged."""
        return self._in_hand

    def take(self, records: Sequence[Consumed]) -> None:
        """Judges entries, in the thread that reads. Those that come when the lane is closed are dropped."""
        self._judging.is_going_on = True
        try:
            self.meter.arrived(records)
            for record in records:
                with self._lock:
                    if self._closing:
                        break
                    self._judge(record)
            self._judging.is_going_on = False
        except RowError as error:
            end_process(self._table.distrust(self.number, error))
        except Exception as error:
            end_process(error)

    def close(self) -> None:
        """Ends the lane once what is judged has landed; when this returns, nothing more is judged."""
        with self._lock:
            self._closing = True
        self._judged.set()

    async def run(self, acknowledge: Acknowledge) -> None:
        """Steps 2 to 4, again and again, until closed and nothing is left. Any error ends the process."""
        try:
            while await self._some_judged():
                # Outputs, changes and offset are taken together, with nothing judged in between.
                with self._lock:
                    prompt, self._outputs = self._outputs, self._prompt.open()
                    later, self._later = self._later, []
                    changes, count, last = self.fold.take_changes(), self._in_hand, self._last
                    applied = last if self.fold.applied_offset is None else self.fold.applied_offset
                    noted = self.meter.land()
                until = time.monotonic() + _GIVES_WAY_FOR_S
                sent = self._gathering.open()
                await self._send_all(later, sent, until)
                rows = await self._encode_all(changes, until)
                await prompt.wait()
                await sent.wait()
                self.meter.acknowledged(noted)
                await self._table.write(self._gathering, self.number, rows, applied)
                acknowledge(self.number, last + 1)
                self.meter.applied(noted, last)
                with self._lock:
                    self._in_hand -= count
        except Exception as error:
            end_process(error)

    async def _some_judged(self) -> bool:
        while not self._in_hand and not self._closing:
            self._judged.clear()
            await self._judged.wait()
        if self._in_hand and not self._closing:
            await asyncio.sleep(_GATHER_S)
        return self._in_hand > 0

    def _judge(self, record: Consumed) -> None:
        self._in_hand += 1
        self._last = record.offset
        if self._in_hand == 1:
            self._loop.call_soon_threadsafe(self._judged.set)
        try:
            entry = self._codec.decode(JournalEntry, record.value)
        except CodecError as error:
            self.fold.skip(record.offset)
            self._send_dead_letter(record, error)
            self.meter.unread(record, error.code)
            return
        self._clock.observe(entry.at)
        began_ns = time.time_ns()
        outputs = self.fold.apply(entry, record.offset)
        for output in outputs:
            if type(output.value) in PROMPT:
                self._send(self._prompt, self._outputs, output, entry)
            else:
                self._later.append((output, entry))
        self.meter.judged(record, entry, outputs)
        if self._spans is not None and entry.kind is not EntryKind.TICK:
            self._spans.processed(record, began_ns, of_entry(entry, outputs), traceparent=entry.traceparent)

    async def _send_all(self, later: Sequence[tuple[Output, JournalEntry]], sent: Deliveries, until: float) -> None:
        for number, (output, entry) in enumerate(later, 1):
            self._send(self._gathering, sent, output, entry)
            if number % _TURN == 0:
                await self._give_way(until)

    async def _encode_all(self, changes: Changes, until: float) -> list[tuple[bytes, bytes]]:
        rows = []
        for number, row in enumerate(changes.rows(), 1):
            rows.append(row)
            if number % _TURN == 0:
                await self._give_way(until)
        return rows

    async def _give_way(self, until: float) -> None:
        await asyncio.sleep(0)
        while self._judging.is_going_on and time.monotonic() < until:
            await asyncio.sleep(_GIVE_WAY_S)

    def _send(self, outbox: Outbox, group: Deliveries, output: Output, entry: JournalEntry) -> None:
        value = output.value
        subject = getattr(value, "lead_id", "") or entry.lead_id
        outbox.send(
            group,
            TOPIC_OF[type(value)],
            self._codec.encode(value),
            key=output.key,
            partition=self.number,
            timestamp_ms=entry.at // 1000,
            headers=cloud_event(
                value, id=output.id, source=SOURCE, subject=subject, at=entry.at, traceparent=entry.traceparent
            ),
        )

    def _send_dead_letter(self, record: Consumed, error: CodecError) -> None:
        place = f"{record.topic}:{record.partition}:{record.offset}"
        headers = {name: bytes(value) for name, value in record.headers if value is not None}
        letter = DeadLetter(
            dead_letter_id=place,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=headers,
            code=error.code,
            error=str(error),
            stage=STAGE,
            at=(record.timestamp_ms or 0) * 1000,
        )
        context = dead_letter(
            headers,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            stage=STAGE,
            code=error.code,
            error=str(error),
        )
        event = cloud_event(letter, id=place, source=SOURCE, subject="", at=letter.at)
        self._prompt.send(
            self._outputs,
            DEAD_LETTERS,
            self._codec.encode(letter),
            key=record.key,
            timestamp_ms=record.timestamp_ms or 0,
            headers=context + event,
        )
        log.warning("dead letter %s: %s", place, error)


class Control:
    """The lanes of one worker. It is the `Reader` of the transport's consumer."""

    topic = JOURNAL

    def __init__(
        self, table: ExecutionTable, codec: Codec, clock: Clock, make_fold: MakeFold, acknowledge: Acknowledge
    ) -> None:
        self._table = table
        self._codec = codec
        self._clock = clock
        self._make_fold = make_fold
        self._acknowledge = acknowledge
        self._lanes: dict[int, Lane] = {}
        self._judging = Judging()
        self._tasks: set[asyncio.Task[None]] = set()
        self._given_up_at: float | None = None
        self.outboxes: Outboxes | None = None
        self.spans: Spans | None = None

    @property
    def partitions(self) -> list[int]:
        """Numbers of the journal partitions that are being judged."""
        return sorted(self._lanes)

    def meters(self) -> list[metrics.Meter]:
        """What the lanes count; may be asked from any thread."""
        return [lane.meter for lane in list(self._lanes.values())]

    def lane(self, partition: int) -> Lane | None:
        """Who judges a partition's entries now."""
        return self._lanes.get(partition)

    async def open(self, partitions: Iterable[int]) -> Mapping[int, int | None]:
        """Makes the lanes of partitions whose rows are restored; answers where each goes on."""
        assert self.outboxes is not None
        await self.settle()
        starts: dict[int, int | None] = {}
        for number in partitions:
            try:
                fold = self._make_fold(number, self._table.rows(number))
            except RowError as error:
                raise self._table.distrust(number, error) from error
            lane = Lane(number, fold, self.outboxes, self._table, self._codec, self._clock, self._judging, self.spans)
            self._lanes[number] = lane
            applied = fold.applied_offset
            starts[number] = None if applied is None else applied + 1
            self._tasks.add(asyncio.create_task(lane.run(self._acknowledge), name=f"lane {number}"))
            await asyncio.sleep(0)
        self._count_rebalance()
        return starts

    async def settle(self) -> None:
        """Judges nothing more, lands what was judged, gives every partition up."""
        if self._lanes:
            self._given_up_at = time.monotonic()
        for lane in self._lanes.values():
            lane.close()
        self._lanes = {}
        if self._tasks:
            await asyncio.wait(self._tasks)
            self._tasks.clear()

    def waiting(self, partition: int) -> int:
        """Entries of a partition that are not acknowledged; 0 for one that is not judged here."""
        lane = self._lanes.get(partition)
        return 0 if lane is None else lane.waiting

    def _count_rebalance(self) -> None:
        metrics.REBALANCES.inc()
        if self._given_up_at is not None:
            metrics.STALL.observe(time.monotonic() - self._given_up_at)
            self._given_up_at = None
