"""Sending with proof of delivery: records are handed to librdkafka and awaited in groups.

A delivery that fails ends the process at once, in the thread that learns of it: nothing that waited for it can be
acknowledged afterwards.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message

from schemas.headers import Headers
from streams import Broken, end_process
from streams.kafka import make_producer
from streams.pacing import TRAINS, Pacing, Record, Report

if TYPE_CHECKING:
    from deploy.settings import Settings

HELD_BYTES = 256 << 20
"""How much may wait to be sent; who sends more waits too."""
# As long as other threads may keep the interpreter from who hands over a train.
_GATHERING = {**TRAINS, "linger.ms": 5}
_POLL_S = 0.1
_HELD_RETRY_S = 0.002
_CLOSE_S = 5.0


class Deliveries:
    """Records that are awaited together. Made by `Outbox.open`; sent by one thread at a time, awaited on the loop."""

    __slots__ = ("__weakref__", "_arrived", "_handed", "_loop", "_push", "_waiter", "_wake", "last_offset")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[["Deliveries"], None],
        push: Callable[[], None] = lambda: None,
    ) -> None:
        """push: sends what is gathered, for somebody waits now."""
        self._loop = loop
        self._wake = wake
        self._push = push
        self._handed = 0
        self._arrived = 0
        self._waiter: asyncio.Future[None] | None = None
        self.last_offset = -1
        """Offset of the last record delivered; says something only when all of them go to one partition."""

    @property
    def is_complete(self) -> bool:
        """Whether the broker has acknowledged every record so far."""
        return self._arrived == self._handed

    async def wait(self) -> None:
        """Returns once the broker has acknowledged every record of the group; never when one fails."""
        if self._arrived == self._handed:
            return
        self._push()
        if self._waiter is None or self._waiter.done():
            self._waiter = self._loop.create_future()
        # The last report may have come before the waiter stood: look again.
        if self._arrived != self._handed:
            await asyncio.wait((self._waiter,))

    def hand(self, records: int) -> None:
        """Counts records before they are sent: a report never comes before its record is counted."""
        self._handed += records

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Delivery report, in the outbox's thread."""
        if error is not None:
            end_process(
                Broken(
                    f"{message.topic()} did not take a record ({error.str()}).",
                    "Check the brokers, the topic's settings and this user's right to write to it.",
                )
            )
        self.last_offset = message.offset() or 0
        self._arrived += 1
        if self._arrived == self._handed and self._waiter is not None:
            self._wake(self)

    def wake(self) -> None:
        """Resumes who waits; on the loop."""
        if self._waiter is not None and not self._waiter.done() and self.is_complete:
            self._waiter.set_result(None)


class Outbox:
    """An idempotent producer, and the thread that hears of its deliveries.

    gathers: a record waits for others of its partition, to go in one request, until somebody waits for it.
    `open` and `send` may be called from any thread, the rest from the loop that made it. Delivery reports are gathered
    in the outbox's thread and handed to the loop once a round, not once a record.
    """

    def __init__(self, settings: "Settings", loop: asyncio.AbstractEventLoop, *, gathers: bool = False) -> None:
        self._loop = loop
        self._producer = make_producer(settings, **(_GATHERING if gathers else {}))
        self._pacing = Pacing(self._hand, gathers=gathers)
        self._ready: list[Deliveries] = []
        self._open: set[Deliveries] = set()
        self._opening = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._hear, name="deliveries", daemon=True)
        self._thread.start()

    def open(self) -> Deliveries:
        """A group of records to be awaited together."""
        group = Deliveries(self._loop, self._ready.append, self._pacing.push)
        with self._opening:
            if len(self._open) > 64:
                self._open = {group for group in self._open if not group.is_complete}
            self._open.add(group)
        return group

    def send(
        self,
        group: Deliveries,
        topic: str,
        value: bytes | None,
        *,
        key: str | bytes | None,
        partition: int = -1,
        timestamp_ms: int = 0,
        headers: Headers | None = None,
    ) -> None:
        """Sends one record. partition -1: by the key (murmur2, as Java clients do). timestamp 0: wall clock.

        Raises Broken when the record can't be sent at all, such as one larger than the broker takes; when it had to
        wait, that ends the process instead.
        """
        while self._pacing.waiting_bytes > HELD_BYTES:
            # Bounded: a broker that takes nothing fails a delivery after delivery.timeout.ms, which ends us.
            time.sleep(_HELD_RETRY_S)
        group.hand(1)
        try:
            self._pacing.offer(Record(topic, value, key, partition, timestamp_ms, headers, group.report))
        except Broken:
            group.hand(-1)
            raise

    def _hand(self, record: Record, report: Report, _train: bool) -> bool:
        topic, value, key, partition, timestamp_ms, headers, _ = record
        try:
            self._producer.produce(topic, value, key, partition, report, None, timestamp_ms, list(headers or ()))
        except BufferError:
            return False
        except KafkaException as error:
            raise Broken(
                f"{topic} can't take a record of {len(value or b'')} bytes ({error.args[0].str()}).",
                "Check what the brokers and the topic allow (max.message.bytes).",
            ) from error
        return True

    async def flush(self) -> None:
        """Returns when everything handed over before the call is delivered."""
        with self._opening:
            groups = list(self._open)
        for group in groups:
            await group.wait()

    def close(self) -> None:
        """Sends what is left, for some seconds, and ends the thread."""
        self._pacing.push()
        self._closing = True
        self._thread.join(_POLL_S * 5)
        self._producer.flush(_CLOSE_S)

    def _hear(self) -> None:
        while not self._closing:
            try:
                self._producer.poll(_POLL_S)
            except Exception as error:  # of a record that had to wait
                end_process(error)
            if self._ready:
                ready = self._ready[:]
                del self._ready[: len(ready)]
                try:
                    self._loop.call_soon_threadsafe(_wake_all, ready)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return


class Outboxes(NamedTuple):
    """The producers of a control worker. A topic goes through one of them: order in a partition is a producer's."""

    prompt: Outbox
    """What somebody waits for: no record waits for another."""
    gathering: Outbox
    """What a landing sends, and rows: a request costs a broker more than the records in it, up to some size."""

    async def flush(self) -> None:
        """Returns when everything handed over before the call is delivered."""
        await self.prompt.flush()
        await self.gathering.flush()

    def close(self) -> None:
        """Sends what is left, for some seconds, and ends the threads."""
        self.prompt.close()
        self.gathering.close()


def open_outboxes(settings: "Settings", loop: asyncio.AbstractEventLoop) -> Outboxes:
    """Both producers, on the loop that will use them."""
    return Outboxes(Outbox(settings, loop), Outbox(settings, loop, gathers=True))


def _wake_all(groups: list[Deliveries]) -> None:
    for group in groups:
        group.wake()
