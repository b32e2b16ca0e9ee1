"""Bringing a worker's disk up to its changelog before it judges anything.

Faust's own recovery takes each row through its event loop, never ends when the last rows were compacted away, and
passes over errors. This one reads with librdkafka, in a thread, to the end of each partition.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import RebalanceAgain, ServiceStopped
from faust.tables.recovery import Recovery as FaustRecovery
from faust.types import TP
from mode import Service

from streams import Broken, end_process
from streams.kafka import CHECK_BROKERS, at_end, checked, make_consumer
from streams.metrics import control as metrics
from streams.tables import CHANGELOG, ExecutionTable

if TYPE_CHECKING:
    from deploy.settings import Settings

log = logging.getLogger("mandate.control")
_ROWS_A_READ = 5_000
_READ_S = 0.1
_METADATA_S = 15.0
_PROGRESS_EVERY_S = 1.0


class Restoration:
    """Reads the changelog of some partitions to its end, from where the disk reaches. Runs in a thread."""

    def __init__(self, settings: "Settings", table: ExecutionTable, partitions: Iterable[int]) -> None:
        self._settings = settings
        self._table = table
        self._partitions = list(partitions)
        self._cancelled = threading.Event()
        self.rows = 0

    def cancel(self) -> None:
        """Makes `run` return soon, with what it has read so far written."""
        self._cancelled.set()

    def run(self) -> None:
        """Returns when the disk holds what the changelog held when its end was seen. Raises Broken."""
        overrides = {
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
            "queued.max.messages.kbytes": 16_384,
        }
        consumer = make_consumer(self._settings, "mandate-control-restore", **overrides)
        try:
            self._read(consumer)
        except KafkaException as error:
            raise Broken(f"{CHANGELOG} can't be read ({error.args[0].str()}).", CHECK_BROKERS) from error
        finally:
            consumer.close()

    def _read(self, consumer: Consumer) -> None:
        ends = {number: self._end(consumer, number) for number in self._partitions}
        starts = {number: self._start(number, ends[number]) for number in ends}
        behind = {number for number in ends if starts[number] < ends[number]}
        total = sum(ends[number] - starts[number] for number in behind)
        metrics.RECOVERY_REMAINING.set(total)
        metrics.RECOVERY_DONE.set(not behind)
        if not behind:
            return
        log.info("restoring partitions %s: %d changelog records", sorted(behind), total)
        consumer.assign([TopicPartition(CHANGELOG, number, starts[number] or OFFSET_BEGINNING) for number in behind])
        began = said = time.monotonic()
        while behind and not self._cancelled.is_set():
            behind -= self._take(consumer.consume(_ROWS_A_READ, _READ_S))
            metrics.RECOVERY_REMAINING.set(sum(ends[number] - self._next(number) for number in behind))
            metrics.RECOVERY_SECONDS.set(time.monotonic() - began)
            if time.monotonic() - said > _PROGRESS_EVERY_S:
                said = time.monotonic()
                log.info("restoring: %d rows of at most %d, %.0f/s", self.rows, total, self.rows / (said - began))
        metrics.RECOVERY_DONE.set(not behind)
        log.info("restored %d rows in %.1f s", self.rows, time.monotonic() - began)

    def _end(self, consumer: Consumer, number: int) -> int:
        _, high = consumer.get_watermark_offsets(TopicPartition(CHANGELOG, number), timeout=_METADATA_S)
        return int(high)

    def _start(self, number: int, end: int) -> int:
        reached = self._table.reached(number)
        if reached is not None and reached >= end:
            raise Broken(
                f"The state of partition {number} on this disk reaches changelog offset {reached}, but {CHANGELOG} "
                f"ends at {end}: it belongs to another changelog.",
                f"Remove {self._table.store.path}; the state is restored from the changelog.",
            )
        return self._next(number)

    def _next(self, number: int) -> int:
        reached = self._table.reached(number)
        return 0 if reached is None else reached + 1

    def _take(self, messages: list[Any]) -> set[int]:
        """Writes what was read; answers the partitions whose end was seen."""
        ended = set()
        rows: dict[int, list[tuple[bytes, bytes]]] = {}
        offsets: dict[int, int] = {}
        for message in messages:
            if checked(message) is None:
                if at_end(message):
                    ended.add(message.partition())
                continue
            number = message.partition()
            rows.setdefault(number, []).append((message.key(), message.value()))
            offsets[number] = message.offset()
        for number, found in rows.items():
            self._table.put(number, found, offsets[number])
            self.rows += len(found)
            metrics.RECOVERY_ROWS.inc(len(found))
        return ended


class Recovery(FaustRecovery):
    """Faust's place for recovery after a rebalance, with the work done by `Restoration`."""

    app: Any

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start.wait()):
                return
            self.signal_recovery_start.clear()
            try:
                await self._recover(self._generation_id)
            except RebalanceAgain:
                continue
            except ServiceStopped:
                return
            except Exception as error:
                end_process(error)

    async def _recover(self, generation: int) -> None:
        self._set_recovery_started()
        (table,) = self.tables.values()
        work = Restoration(self.app.settings, table, sorted(tp.partition for tp in self.active_tps))
        thread = asyncio.ensure_future(asyncio.to_thread(work.run))
        try:
            await self._wait(asyncio.shield(thread))
        finally:
            # Partitions may be taken under it: wait until it has let go of their databases.
            work.cancel()
            await thread
        await self._wait(self.on_recovery_completed(generation))
        self.app.on_ready()

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Does nothing: nothing is buffered."""

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Does nothing: no changelog record comes through Faust."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Does nothing: `Restoration` tells its progress."""


class TableManager(FaustTableManager):
    """Faust's table manager with our recovery, and without its second of waiting at the start."""

    @property
    def recovery(self) -> FaustRecovery:
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()
