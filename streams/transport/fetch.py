"""Reading the journal with librdkafka, in a thread of its own, which also hands over what it read. Group, assignment
and commits stay with aiokafka.

Why not aiokafka's own fetch, and why whoever reads judges: `docs/decisions/transport.md`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams import end_process
from streams.kafka import Consumed, checked, consumed, make_consumer

if TYPE_CHECKING:
    from deploy.settings import Settings

FULL = 4_000
"""Entries of a partition that may wait before no more are read of it."""
ROOM = 1_000
"""Entries down to which they must have fallen before it is read again: what was fetched ahead is fetched once more."""
MAX_BATCH = 32
"""Records taken at once: they are decoded before anything is done with the first."""
_LOOK_EVERY_S = 1.0
_LEARN_S = 1.0
_FETCH = {
    "queued.min.messages": 5_000,
    "queued.max.messages.kbytes": 4_096,
    # An offset that the log does not hold is told, not replaced by another.
    "auto.offset.reset": "error",
}

Found = dict[int, list[Consumed]]


class Worker(Protocol):
    """Who does something with the records, in the thread that reads."""

    def waiting(self, partition: int) -> int:
        """Entries of a partition that were handed over and are not acknowledged."""

    def has_room(self) -> bool:
        """Whether more records may be handed over just now."""

    def work(self) -> float:
        """Does a little; answers for how many seconds nothing more is to be done, 0 when something is left."""


class Fetch:
    """One topic's partitions, each from the offset that it is told.

    arrived: called in the thread, with the epoch of `begin` and consecutive records by partition.
    """

    def __init__(
        self,
        settings: "Settings",
        topic: str,
        arrived: Callable[[int, Found], None],
        worker: Worker,
    ) -> None:
        self._topic = topic
        self._arrived = arrived
        self._worker = worker
        # Used by the thread only: librdkafka's `assign` beside a `poll` of another thread never returned.
        self._consumer: Consumer = make_consumer(settings, "mandate-control-journal", **_FETCH)
        self._asked: deque[Callable[[], None]] = deque()
        self._epoch = 0
        self._ends: dict[int, int] = {}
        self._paused: set[int] = set()
        self._next_look = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def begin(self, starts: Mapping[int, int], epoch: int) -> None:
        """Reads these partitions and no others, from these offsets on."""
        self._asked.append(partial(self._assign, dict(starts), epoch))

    def again(self, partition: int, offset: int) -> None:
        """Goes on at another offset of a partition that is read."""
        self._asked.append(partial(self._seek, partition, offset, self._epoch))

    def end(self, partition: int) -> int | None:
        """Offset after the newest entry, as a fetch of the last second told; None when it is not known."""
        end = self._ends.get(partition, -1)
        return end if end >= 0 else None

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        self._thread.join()

    # -- in the thread

    def _run(self) -> None:
        pause_s = 0.0
        try:
            self._learn()
            while not self._closing.is_set():
                while self._asked:
                    self._asked.popleft()()
                self._regulate()
                if self._worker.has_room() and (found := self._poll(pause_s)):
                    self._arrived(self._epoch, found)
                pause_s = self._worker.work()
            self._consumer.close()
        except Exception as error:
            if not self._closing.is_set():
                end_process(error)

    def _learn(self) -> None:
        """Asks where the topic's partitions are.

        Else the client asks when it looks around, once a second, unless it happens to be told them right at its start:
        a worker that came back read its first entry up to a second after it was ready.
        """
        with suppress(KafkaException):  # it asks again by itself
            self._consumer.list_topics(self._topic, _LEARN_S)

    def _poll(self, timeout_s: float) -> Found:
        # consume(n, timeout) waits until it has n; one poll returns with the first, and the rest is at hand.
        first = self._consumer.poll(timeout_s)
        found: Found = {}
        if first is not None:
            for message in (first, *self._consumer.consume(MAX_BATCH - 1, 0)):
                if checked(message) is not None:
                    record = consumed(message)
                    found.setdefault(record.partition, []).append(record)
        return found

    def _assign(self, starts: Mapping[int, int], epoch: int) -> None:
        self._epoch = epoch
        self._ends = dict.fromkeys(starts, -1)
        # librdkafka keeps a pause over `assign`: a partition that was full when it went would never be read again.
        self._consumer.resume([self._place(number) for number in self._paused])
        self._paused = set()
        self._consumer.assign([self._place(number, offset) for number, offset in starts.items()])

    def _seek(self, partition: int, offset: int, epoch: int) -> None:
        if epoch == self._epoch and partition in self._ends:
            self._consumer.seek(self._place(partition, offset))

    def _regulate(self) -> None:
        """Leaves partitions alone of which too much waits."""
        for number in self._ends:
            waiting = self._worker.waiting(number)
            if waiting >= FULL and number not in self._paused:
                self._paused.add(number)
                self._consumer.pause([self._place(number)])
            elif waiting <= ROOM and number in self._paused:
                self._paused.discard(number)
                self._consumer.resume([self._place(number)])
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_EVERY_S
            for number in self._ends:
                known = self._consumer.get_watermark_offsets(self._place(number), cached=True)
                self._ends[number] = known[1] if known is not None else -1

    def _place(self, number: int, offset: int | None = None) -> TopicPartition:
        return TopicPartition(self._topic, number) if offset is None else TopicPartition(self._topic, number, offset)
