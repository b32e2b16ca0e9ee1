"""The lane of one partition: judges its entries, and lands what it judged. `streams.control` says in which order.

Two threads work here. The thread that reads the journal puts entries in line (`take`), judges them (`judge`), and makes
landings ready piece by piece (`begin_landing`, `prepare`). The loop does the rest of each landing (`run`).
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from processors.draft import Output
from processors.law import Law
from processors.partition import Changes, Write
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec, CodecError
from schemas.headers import cloud_event, dead_letter
from schemas.records import DeadLetter, Decision, Directive, EntryKind, JournalEntry, LeadId, Revocation
from schemas.rows import RowError
from streams import end_process
from streams.clock import Clock
from streams.kafka import Consumed
from streams.line import Item, Line
from streams.metrics import control as metrics
from streams.tables import ExecutionTable
from streams.tracing import Spans, of_entry
from streams.transport.outbox import Deliveries, Outbox, Outboxes

log = logging.getLogger("mandate.control")
DEAD_LETTERS = TOPIC_OF[DeadLetter]
SOURCE = "/mandate/control"
STAGE = metrics.STAGE
GATHER_S = 0.1
"""A landing gathers so long: rows of a lead that changes often are written once, and requests to the broker are few and
large. No verdict waits for it; a process that ends then has that much more to repeat."""
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

    def follow(self, offset: int) -> None:
        """Counts the next entry; raises when entries before it are missing."""

    def fold(self, entry: JournalEntry, offset: int) -> list[Output]:
        """Outputs of an entry that was counted."""

    def begin_tick(self, entry: JournalEntry, offset: int) -> list[Output]:
        """Begins with a tick that was counted."""

    @property
    def is_ticking(self) -> bool:
        """Whether that tick has not come to its end."""

    def go_on_ticking(self) -> list[Output]:
        """Outputs of that tick for one lead more."""

    def tick_for(self, lead_id: LeadId) -> list[Output]:
        """Outputs of that tick for this lead next, if there are any."""

    def skip(self, offset: int) -> None:
        """Counts an entry that can't be read."""

    def take_changes(self) -> Changes:
        """What changed since the last call; its rows may be encoded while other entries are applied."""


@dataclass(slots=True)
class Landing:
    """All that was judged since the landing before. count: its entries. last: the last of them."""

    prompt: Deliveries
    later: list[tuple[Output, JournalEntry]]
    changes: Changes
    count: int
    last: int
    applied: int
    noted: metrics.Noted
    sent: Deliveries
    rows: list[Write] = field(default_factory=list)


class Lane:
    """One partition, from the moment it is taken over until it is given up. Make it on the loop."""

    def __init__(
        self,
        number: int,
        fold: Fold,
        outboxes: Outboxes,
        table: ExecutionTable,
        codec: Codec,
        clock: Clock,
        busy: Callable[["Lane"], None],
        spans: Spans | None = None,
    ) -> None:
        """busy: told in the thread that reads when entries were taken."""
        self.number = number
        self.fold = fold
        self._prompt, self._gathering = outboxes
        self._table = table
        self._codec = codec
        self._clock = clock
        self._busy = busy
        self._spans = spans
        self._loop = asyncio.get_running_loop()
        self._line = Line()
        self._outputs = self._prompt.open()
        self._later: list[tuple[Output, JournalEntry]] = []
        self._last = -1
        # What waits is bounded by the transport (`fetch.FULL`), far below the leads that the fold keeps at hand: none
        # is read from the disk before its row is there.
        self._taken = self._judged = self._landing = self._landed = 0
        self._since = self._began = 0.0
        self._preparing: Iterator[None] | None = None
        self._ticking: Item | None = None
        self._told: list[Output] = []
        self._ready: asyncio.Queue[Landing | None] = asyncio.Queue()
        # Entries are taken or the lane is closed, one of the two first.
        self._closing = threading.Lock()
        self._closed = False
        self.meter = metrics.Meter(number, fold, clock)

    @property
    def waiting(self) -> int:
        """Entries that are taken and not acknowledged; may be asked from any thread."""
        return self._taken - self._landed

    def close(self) -> None:
        """Takes nothing more; `run` ends once what was taken has landed. On the loop."""
        with self._closing:
            self._closed = True
        if not self.waiting:
            self._ready.put_nowait(None)

    async def run(self, acknowledge: Callable[[int, int], None]) -> None:
        """Lands what is ready, until closed and nothing is left. Any error ends the process. On the loop."""
        try:
            while not (self._closed and not self.waiting) and (landing := await self._ready.get()) is not None:
                await landing.prompt.wait()
                await landing.sent.wait()
                self.meter.acknowledged(landing.noted)
                await self._table.write(self._gathering, self.number, landing.rows, landing.applied)
                acknowledge(self.number, landing.last + 1)
                self.meter.applied(landing.noted, landing.last)
                self._landed += landing.count
        except Exception as error:
            end_process(error)

    # -- in the thread that reads

    @property
    def in_line(self) -> int:
        """Entries that are taken and not judged."""
        return len(self._line)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what the next one in line leads to."""
        return self._line.is_awaited

    @property
    def is_preparing(self) -> bool:
        """Whether a landing is not ready yet."""
        return self._preparing is not None

    def prepares_for(self, now: float) -> float:
        """Seconds since the landing that is not ready yet began."""
        return now - self._began if self._preparing is not None else 0.0

    def lands_in(self, now: float) -> float | None:
        """Seconds until what was judged is to land; None while nothing was, or another landing has not ended."""
        if self._judged == self._landing or self._landing != self._landed:
            return None
        return 0.0 if self._closed else max(0.0, self._since + GATHER_S - now)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do here until entries are taken."""
        return self._landing == self._taken and self._preparing is None

    def take(self, records: Sequence[Consumed]) -> None:
        """Puts entries in line. Those that come when the lane is closed are dropped."""
        try:
            found = [(record, self._decoded(record)) for record in records]
            with self._closing:
                if self._closed:
                    return
                self._taken += len(found)
            self.meter.arrived(records)
            for record, entry in found:
                self._last = record.offset
                if isinstance(entry, CodecError):
                    self._pass_over(record, entry)
                else:
                    self.fold.follow(record.offset)
                    self._line.put(Item(record, entry))
            self._busy(self)
        except Exception as error:
            end_process(error)

    def judge(self) -> None:
        """Judges the one whose turn it is, or a tick for one lead more."""
        try:
            item = self._line.next()
            if item.entry.kind is EntryKind.TICK:
                self._tick(item)
            else:
                self._judge(item)
        except RowError as error:
            end_process(self._table.distrust(self.number, error))
        except Exception as error:
            end_process(error)

    def begin_landing(self, now: float) -> None:
        """Takes together what was judged: outputs, changes and offset. Nobody may be in line."""
        try:
            count, self._landing = self._judged - self._landing, self._judged
            applied = self._last if self.fold.applied_offset is None else self.fold.applied_offset
            landing = Landing(
                prompt=self._outputs,
                later=self._later,
                changes=self.fold.take_changes(),
                count=count,
                last=self._last,
                applied=applied,
                noted=self.meter.land(),
                sent=self._gathering.open(),
            )
            self._outputs, self._later = self._prompt.open(), []
            self._began = now
            self._preparing = self._prepare(landing)
        except Exception as error:
            end_process(error)

    def prepare(self) -> None:
        """Does one more piece of what makes the landing ready."""
        assert self._preparing is not None
        try:
            next(self._preparing)
        except StopIteration:
            self._preparing = None
        except Exception as error:
            end_process(error)

    def _prepare(self, landing: Landing) -> Iterator[None]:
        for output, entry in landing.later:
            self._send(self._gathering, landing.sent, output, entry)
            yield
        for row in landing.changes.rows():
            landing.rows.append(row)
            yield
        self._loop.call_soon_threadsafe(self._ready.put_nowait, landing)

    def _decoded(self, record: Consumed) -> JournalEntry | CodecError:
        try:
            entry = self._codec.decode(JournalEntry, record.value)
        except CodecError as error:
            return error
        return entry

    def _note(self) -> None:
        if self._judged == self._landing:
            self._since = time.monotonic()
        self._judged += 1

    def _pass_over(self, record: Consumed, error: CodecError) -> None:
        self._note()
        self.fold.skip(record.offset)
        self._send_dead_letter(record, error)
        self.meter.unread(record, error.code)

    def _judge(self, item: Item) -> None:
        if self._ticking is not None:
            self._goes_on(self.fold.tick_for(item.entry.lead_id))
        began_ns = time.time_ns()
        self._count(item.entry)
        outputs = self.fold.fold(item.entry, item.record.offset)
        self._hand_over(outputs, item.entry)
        self.meter.judged(item.record, item.entry, outputs)
        if self._spans is not None:
            entry = item.entry
            self._spans.processed(item.record, began_ns, of_entry(entry, outputs), traceparent=entry.traceparent)

    def _tick(self, item: Item) -> None:
        if self._ticking is None:
            self._ticking = item
            self._told = []
            self._count(item.entry)
            self._goes_on(self.fold.begin_tick(item.entry, item.record.offset))
        else:
            self._goes_on(self.fold.go_on_ticking())

    def _goes_on(self, outputs: list[Output]) -> None:
        """A tick has these outputs more, and may have come to its end."""
        tick = self._ticking
        assert tick is not None
        self._hand_over(outputs, tick.entry)
        self._told += outputs
        if not self.fold.is_ticking:
            self._ticking = None
            self._line.end()
            self.meter.judged(tick.record, tick.entry, self._told)

    def _count(self, entry: JournalEntry) -> None:
        self._clock.observe(entry.at)
        self._note()

    def _hand_over(self, outputs: list[Output], entry: JournalEntry) -> None:
        for output in outputs:
            if type(output.value) in PROMPT:
                self._send(self._prompt, self._outputs, output, entry)
            else:
                self._later.append((output, entry))

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
