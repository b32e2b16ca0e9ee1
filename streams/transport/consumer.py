"""Faust's consumer with four things done otherwise; `docs/decisions/transport.md` says what each one lost or cost.

1. A Faust message is here a batch: consecutive records of one journal partition, as they lie there.
2. Where reading starts is what control's state says, not what the group committed.
3. What is committed is what control acknowledged, not what Faust believes was processed.
4. Records that do not continue where control stopped are never handed over: they are read again.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from faust.transport import base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service, ServiceT

from streams import Broken

log = logging.getLogger("mandate.control")
MAX_BATCH = 200
"""Records in a batch at most. A batch is what is there: nothing waits for it to fill."""
_IDLE_S = 1.0
_BUSY_S = 0.02


class Batch:
    """Consecutive records of one partition. `epoch` tells whether they were read under the present assignment."""

    __slots__ = ("epoch", "partition", "records")

    def __init__(self, partition: int, records: Sequence[ConsumerRecord], epoch: int) -> None:
        self.partition = partition
        self.records = records
        self.epoch = epoch


class Reader(Protocol):
    """Who reads the journal: control."""

    topic: str

    async def open(self, partitions: Iterable[int]) -> Mapping[int, int | None]:
        """Takes partitions over, state restored; answers the offset to read next of each, None for the earliest."""

    async def settle(self) -> None:
        """Ends the batches that are being processed, drops those that wait, and gives all partitions up."""

    def has_room(self, partition: int) -> bool:
        """False while enough records of a partition wait."""

    async def wait_for_room(self) -> None:
        """Returns when some partition has room again."""


class Fetcher(base.Fetcher):
    """Runs the consumer's loop. Faust's own takes a stop during a rebalance for a crash."""

    @Service.task
    async def _fetcher(self) -> None:
        try:
            await cast(Consumer, self.app.consumer)._drain_messages(self)
        finally:
            self.set_shutdown()


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka in its thread. The changelog is assigned, so that it goes with the journal, but not fetched."""

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        changelogs = self.app.tables.changelog_topics
        held_back = [TopicPartition(tp.topic, tp.partition) for tp in assigned if tp.topic in changelogs]
        self._ensure_consumer().pause(*held_back)
        await super().on_partitions_assigned(assigned, generation_id)

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

    reader: Reader
    leaves = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.epoch = 0
        self._position: dict[TP, int] = {}
        self._read_again: dict[TP, int] = {}
        self._acknowledged: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- 1 and 4: what is handed over -------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        while not (self.should_stop or fetcher.should_stop):
            if not self.flow_active:
                await self.wait(self.can_resume_flow.wait())
                continue
            # A set of our own: aiokafka takes an empty one for "all", and Faust empties its set under the fetch.
            readable = {tp for tp in self._position if self.reader.has_room(tp.partition)}
            if not readable:
                await self._wait_until_readable()
                continue
            all_readable = len(readable) == len(self._position)
            fetched = await self._getmany(readable, _IDLE_S if all_readable else _BUSY_S)
            for tp, records in fetched.items():
                await self._hand_over(TP(tp.topic, tp.partition), records)

    async def _wait_until_readable(self) -> None:
        if self._position:
            await self.wait(self.reader.wait_for_room(), timeout=_BUSY_S)
        else:
            await self.sleep(_BUSY_S * 5)

    async def _hand_over(self, tp: TP, records: list[ConsumerRecord]) -> None:
        epoch = self.epoch
        for start in range(0, len(records), MAX_BATCH):
            batch = records[start : start + MAX_BATCH]
            # Each time anew: handing over waits, and partitions may be taken meanwhile.
            if epoch != self.epoch or not self.flow_active or not await self._continues(tp, batch):
                return
            self._position[tp] = batch[-1].offset + 1
            await self.callback(self._as_message(tp, batch, epoch))

    async def _continues(self, tp: TP, batch: list[ConsumerRecord]) -> bool:
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
        await self.seek_wait({tp: position})
        return False

    def _as_message(self, tp: TP, batch: list[ConsumerRecord], epoch: int) -> ConsumerMessage:
        last = batch[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            None,
            None,
            cast(Any, Batch(tp.partition, batch, epoch)),
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

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
            await self.seek_wait(starts)
        self._position = starts
        self._read_again = {}

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
        self.epoch += 1
        self._position = {}
        await self.reader.settle()
        # Not `commit`, which takes one under way for its own: that one may be of before the last batches.
        await self.maybe_wait_for_commit_to_finish()
        await self.force_commit()
        self._acknowledged.clear()
        self._committed.clear()

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
