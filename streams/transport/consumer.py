"""Faust's consumer with four things done otherwise; `docs/decisions/transport.md` says what each one lost or cost.

1. librdkafka reads the journal (`transport.fetch`), and the thread that reads judges; aiokafka, under Faust, is the
   member of the group and fetches nothing, and no stream of Faust holds anything.
2. Where reading starts is what control's state says, not what the group committed.
3. What is committed is what control acknowledged, not what Faust believes was processed.
4. Records that do not continue where control stopped are never handed over: they are read again.
"""

import asyncio
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from aiokafka import TopicPartition
from faust.transport import base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from streams import Broken
from streams.kafka import Consumed
from streams.transport.fetch import Fetch, Found

log = logging.getLogger("mandate.control")
_SHOW_LIFE_S = 1.0


class Lane(Protocol):
    """Who takes the records of one partition, from when it is opened until it is given up."""

    def take(self, records: Sequence[Consumed]) -> None:
        """Consecutive records, in the order in which they lie there; those that come too late are dropped.

        Called in the thread that reads.
        """


class Reader(Protocol):
    """Who reads the journal: control."""

    topic: str

    async def open(self, partitions: Iterable[int]) -> Mapping[int, int | None]:
        """Takes partitions over, state restored; answers the offset to read next of each, None for the earliest."""

    async def settle(self) -> None:
        """Ends the batches that are being processed, drops those that wait, and gives all partitions up."""

    def lane(self, partition: int) -> Lane | None:
        """Who takes a partition's records now; None for one that is not open. Asked in the thread that reads."""

    def waiting(self, partition: int) -> int:
        """Entries of a partition that are handed over and not acknowledged; asked in the thread that reads."""

    def work(self) -> float:
        """Does a little of what is to be done with records that were taken; answers for how many seconds nothing more
        is, 0 when something is left. In that thread too.
        """

    def has_room(self) -> bool:
        """Whether more records may be taken just now. In that thread too."""


class Fetcher(base.Fetcher):
    """Does nothing: `transport.fetch` reads."""

    @Service.task
    async def _fetcher(self) -> None:
        self.set_shutdown()


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka in its thread. It is assigned journal and changelog, which go together, and fetches neither."""

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._ensure_consumer().pause(*(TopicPartition(tp.topic, tp.partition) for tp in assigned))
        await super().on_partitions_assigned(assigned, generation_id)

    def show_life(self) -> None:
        """Says that the loop goes round. A member that fetches nothing for `broker_max_poll_interval` joins no more."""
        if self._consumer is not None:
            with self._consumer._subscription.fetch_context():
                pass

    async def on_thread_stop(self) -> None:
        # A static member that is killed keeps its partitions for its restart; one that is told to end hands them
        # over at once, which aiokafka does only for a member without a static id.
        if self._consumer is not None and cast(Consumer, self.consumer).leaves:
            self._consumer._coordinator._group_instance_id = None
        await super().on_thread_stop()


class Consumer(driver.Consumer):
    """The group member of a control worker. `reader` must be set before it starts.

    leaves: whether a stop gives the partitions to the others at once, or keeps them for a restart.
    """

    app: Any
    reader: Reader
    leaves = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.epoch = 0
        # Epoch, positions and lanes change together: what was read under one assignment never reaches the next.
        self._assigning = threading.Lock()
        self._fetch: Fetch | None = None
        self._position: dict[TP, int] = {}
        self._read_again: dict[TP, int] = {}
        self._acknowledged: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- 1 and 4: what is handed over, in the thread that reads -------------------------------------------------

    def _arrived(self, epoch: int, found: Found) -> None:
        for number, records in found.items():
            self._hand_over(TP(self.reader.topic, number), records, epoch)

    @Service.task
    async def _show_life(self) -> None:
        while not self.should_stop:
            cast(ConsumerThread, self._thread).show_life()
            await self.sleep(_SHOW_LIFE_S)

    def _hand_over(self, tp: TP, records: list[Consumed], epoch: int) -> None:
        with self._assigning:
            if epoch != self.epoch or not self._continues(tp, records):
                return
            self._position[tp] = records[-1].offset + 1
            lane = self.reader.lane(tp.partition)
        # That takes its time, and who gives partitions up must not wait for it: a lane that is closed drops records.
        if lane is not None:
            lane.take(records)

    def _continues(self, tp: TP, batch: list[Consumed]) -> bool:
        position = self._position.get(tp)
        if position is None or batch[-1].offset < position:
            return False
        if batch[0].offset <= position <= batch[-1].offset:
            del batch[: position - batch[0].offset]
            return True
        if self._read_again.get(tp) == position:
            # Read again once already and still not there: the log itself has a hole. Control refuses it.
            return True
        self._read_again[tp] = position
        log.info("%s [%d]: got offset %d, wants %d: reads again", tp.topic, tp.partition, batch[0].offset, position)
        assert self._fetch is not None
        self._fetch.again(tp.partition, position)
        return False

    # -- 2: where reading starts ------------------------------------------------------------------------------

    async def perform_seek(self) -> None:
        """Opens the journal partitions that are assigned and seeks to where their state goes on."""
        mine = {tp.partition: tp for tp in self.assignment() if tp.topic == self.reader.topic}
        wanted = await self.reader.open(sorted(mine))
        starts: dict[TP, int] = {}
        if mine:
            earliest = await self.earliest_offsets(*mine.values())
            ends = await self.highwaters(*mine.values())
            starts = {tp: start_of(tp, wanted[number], earliest[tp], ends[tp]) for number, tp in mine.items()}
        with self._assigning:
            self._position = starts
            self._read_again = {}
        self._fetching().begin({tp.partition: offset for tp, offset in starts.items()}, self.epoch)

    def _fetching(self) -> Fetch:
        if self._fetch is None:
            self._fetch = Fetch(self.app.settings, self.reader.topic, self._arrived, self.reader)
        return self._fetch

    def journal_end(self, partition: int) -> int | None:
        """Offset after the newest entry, as the last fetch told; None when it is not known. From any thread."""
        return None if self._fetch is None else self._fetch.end(partition)

    # -- 3: what is committed ---------------------------------------------------------------------------------

    def acknowledge(self, tp: TP, offset: int) -> None:
        """Everything of a partition before `offset` is judged, its outputs and rows delivered: it may be committed."""
        self._acknowledged[tp] = offset

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp, offset in self._acknowledged.items() if self._committed.get(tp) != offset)

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        return {tp: self._acknowledged[tp] for tp in tps}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        done = await super()._commit(offsets)
        if done:
            self._committed.update(offsets)
        return done

    async def wait_empty(self) -> None:
        """Gives the partitions up: ends what is being processed and commits it. On revoke and when stopping."""
        with self._assigning:
            self.epoch += 1
            self._position = {}
        if self._fetch is not None:
            self._fetch.begin({}, self.epoch)
        await self.reader.settle()
        # Not `commit`, which takes one under way for its own: that one may be of before the last batches.
        await self.maybe_wait_for_commit_to_finish()
        await self.force_commit()
        self._acknowledged.clear()
        self._committed.clear()

    async def on_stop(self) -> None:
        await super().on_stop()
        if self._fetch is not None:
            fetch, self._fetch = self._fetch, None
            await asyncio.to_thread(fetch.close)

    async def verify_all_partitions_active(self) -> None:
        """Does nothing: Faust would judge by its own bookkeeping, which stands still here."""

    async def create_topic(self, *args: Any, **options: Any) -> None:
        """Does nothing: topics come from the catalogue (`mandate up`, `mandate topics --create`)."""


def start_of(tp: TP, wanted: int | None, earliest: int, end: int) -> int:
    """Offset to read from; Broken when the log does not hold what the state needs next."""
    if wanted is None:
        return earliest
    if wanted < earliest:
        raise Broken(
            f"{tp.topic} [{tp.partition}] begins at offset {earliest}, but control's state goes on at {wanted}: "
            "entries were removed before they were judged.",
            "Check the topic's retention; restore the journal, or reset control's changelog together with it.",
        )
    if wanted > end:
        raise Broken(
            f"{tp.topic} [{tp.partition}] ends at offset {end}, but control's state goes on at {wanted}: the state "
            "is another journal's.",
            "Check which cluster this is, and that journal and changelog were made and reset together.",
        )
    return wanted
