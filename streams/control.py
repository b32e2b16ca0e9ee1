"""Control: judges the journal. One lane for each partition that this worker owns.

A lane does with each entry, in this order:

1. decode it as soon as it comes, and put it in line;
2. fold it when its turn comes (`streams.line`: a verdict does not wait for what calls of others say); what somebody
   waits for (`PROMPT`) is handed to the producer at once;
3. hand over the rest, and wait until the broker has acknowledged every output;
4. write the changed rows: changelog, its acknowledgement, then RocksDB;
5. acknowledge the entries, so that they may be committed.

Steps 3 to 5, the landing, are done for all entries judged since the last one together, while those that come next are
judged: a verdict never waits for the rows of others. A landing begins when nobody is in line, so what lands is always
the journal up to an entry. One landing ends before the next begins, so the order holds for every entry.

Whatever takes the interpreter's time is done in the thread that reads the journal, in small pieces and in the order of
who waits for it: two threads that both want the interpreter hand it to and fro, each time through the scheduler. The
loop only waits for the broker, and writes what is ready.

Whatever ends the process between two of these, the next owner reads the entries again from the last row written.
Before 4 the rows are as they were and the same outputs come again, byte for byte; after 4 the entries are passed
over. Tests: `tests/faults/test_kill_control.py`. Nothing here catches an error to go on: a gap in the offsets, a
failed delivery or a defect ends the process (`streams.end_process`), a record that can't be read is a dead letter.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.records import JournalEntry
from schemas.rows import RowError
from streams.clock import Clock
from streams.judging import Judging
from streams.lane import Fold, Lane
from streams.metrics import control as metrics
from streams.tables import ExecutionTable, Rows
from streams.tracing import Spans
from streams.transport.outbox import Outboxes

JOURNAL = TOPIC_OF[JournalEntry]

MakeFold = Callable[[int, Rows], Fold]
Acknowledge = Callable[[int, int], None]


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

    def work(self) -> float:
        """Does a little of what is to be done; answers for how many seconds nothing more is, 0 when something is."""
        return self._judging.work()

    def has_room(self) -> bool:
        """Whether more entries may be put in line just now."""
        return self._judging.has_room()

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
            lane = Lane(
                number, fold, self.outboxes, self._table, self._codec, self._clock, self._judging.add, self.spans
            )
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
