"""Records are handed to the client library only as far as it can send them.

An idempotent producer of librdkafka (2.16) sends nothing to a partition while five of its records or more are on their
way. One that it was handed meanwhile makes its thread ask the socket without a pause until the broker answers, a whole
core, and the broker may be slow for want of one (`rd_kafka_toppar_producer_serve` settles when to wake up before it
looks how much is on its way). So what can't be sent yet waits here.

What it cost, and what was tried instead: `docs/decisions/pacing.md`.
"""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Message

from schemas.headers import Headers

ON_THE_WAY = 5
"""Records of a partition on their way past which librdkafka sends it nothing (RD_KAFKA_IDEMP_MAX_INFLIGHT)."""
MANY = 10
"""Waiting records of a partition from which on they go in a train; below, five and then the rest."""
TRAIN_BYTES = 192 << 10
"""How much goes in a train at most. A broker's thread deals with one request at a time, whoever waits behind it: with
the client's 1 MB, a verdict behind rows waited for some milliseconds."""
LONG_TRAIN_BYTES = 900 << 10
"""The same when more than that waits: then verdicts wait for everything, and requests cost more than they hold up."""
MUCH_BYTES = 2_500 << 10
"""Where records are gathered, so much goes at once: deliveries are heard of in Python, and where that judges without a
pause train would wait for train. More than a landing has at a thousand events a second."""
TRAINS: dict[str, Any] = {"linger.ms": 1, "batch.size": 1_000_000}
"""Settings of a producer for trains: it waits for the rest of what it is being handed, which takes a moment. What comes
after the first has gone would wait in its queue."""
_AROUND_BYTES = 200

Report = Callable[[KafkaError | None, Message], None]


class Record(NamedTuple):
    """One to send. partition -1: by the key; timestamp 0: wall clock."""

    topic: str
    value: bytes | None
    key: str | bytes | None
    partition: int
    timestamp_ms: int
    headers: Headers | None
    report: Report
    """Hears how its delivery ended."""

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return _AROUND_BYTES + len(self.value or b"")


class _Queue:
    """What waits for one partition, and how much is on its way there."""

    __slots__ = ("failed", "flying", "held", "pushed", "size", "train")

    def __init__(self) -> None:
        self.flying = 0
        self.held: deque[Record] = deque()
        self.size = 0
        self.pushed = False
        self.failed = False
        self.train = False
        """Whether what is on its way is a train."""


class Pacing:
    """Holds back what a producer can't send yet, and hands it over, in order, when a delivery makes room.

    Behind a delivery that failed nothing of its partition goes: who is told of it ends the process.

    hand: hands a record to a producer, with what is to hear of its delivery and whether it is part of a train; False
    when the producer is full, and it is asked again later. It is called in the thread that offers, and in the one
    that hears of deliveries; what it raises comes out there, and that record is given up. A train may go through
    another producer: while it is on its way nothing else of its partition is.
    gathers: nothing is handed over before TRAIN_BYTES have come together for a partition, or `push` is called.
    """

    def __init__(self, hand: Callable[[Record, Report, bool], bool], *, gathers: bool = False) -> None:
        self._hand = hand
        self._gathers = gathers
        self._queues: dict[tuple[str, int], _Queue] = {}
        self._full: set[tuple[str, int]] = set()
        self._size = 0
        # Handing over calls nothing back: deliveries are told when the producer is polled.
        self._lock = threading.Lock()

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait here; may be asked from any thread."""
        return self._size

    def offer(self, record: Record) -> None:
        """Hands a record over as soon as it can be sent, behind those of its partition that wait."""
        place = (record.topic, record.partition)
        with self._lock:
            queue = self._queues.get(place)
            if queue is None:
                queue = self._queues[place] = _Queue()
            queue.held.append(record)
            self._count(queue, record.size)
            self._go_on(place, queue)

    def push(self) -> None:
        """Somebody waits: what was gathered goes as soon as it can."""
        if not self._gathers:
            return
        with self._lock:
            for place, queue in self._queues.items():
                if queue.held:
                    queue.pushed = True
                    self._go_on(place, queue)

    def _go_on(self, place: tuple[str, int], queue: _Queue) -> None:
        while queue.held and self._may_go(queue):
            if not self._send(place, queue):
                self._full.add(place)
                return
        self._full.discard(place)
        queue.pushed = queue.pushed and bool(queue.held)

    def _may_go(self, queue: _Queue) -> bool:
        if queue.failed:
            return False
        if queue.flying:  # only what leaves nothing behind in the client's queue, and nothing overtakes a train
            return not queue.train and queue.flying + len(queue.held) <= ON_THE_WAY
        return not self._gathers or queue.pushed or queue.size >= TRAIN_BYTES

    def _send(self, place: tuple[str, int], queue: _Queue) -> bool:
        """Hands over what goes together; False when the producer is full."""
        train = queue.train = self._gathers or (queue.flying == 0 and len(queue.held) >= MANY)
        whole = room = self._train_bytes(queue.size)
        seats = len(queue.held) if train else ON_THE_WAY
        while seats and queue.held and (room == whole or queue.held[0].size <= room):
            record = queue.held.popleft()
            self._count(queue, -record.size)
            if not self._hand(record, partial(self._arrived, place, queue, record.report), train):
                queue.held.appendleft(record)
                self._count(queue, record.size)
                return False
            queue.flying += 1
            room -= record.size
            seats -= 1
        return True

    def _train_bytes(self, waiting: int) -> int:
        if self._gathers:
            return TRAIN_BYTES if waiting < MUCH_BYTES else waiting
        return TRAIN_BYTES if waiting < LONG_TRAIN_BYTES else LONG_TRAIN_BYTES

    def _count(self, queue: _Queue, size: int) -> None:
        queue.size += size
        self._size += size

    def _arrived(
        self, place: tuple[str, int], queue: _Queue, report: Report, error: KafkaError | None, message: Message
    ) -> None:
        report(error, message)
        with self._lock:
            queue.failed |= error is not None
            queue.flying -= 1
            if queue.held:
                self._go_on(place, queue)
            for full in [*self._full]:
                self._go_on(full, self._queues[full])
