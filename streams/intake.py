"""Intake: every input record becomes journal entries or a dead letter, and its offset is committed after that.

One thread, plain librdkafka consumers (`streams.inputs`) and a producer. Each turn, in this order:

1. consume what is there, what is awaited first; judge each record (`streams.admission`), those of a partition in order;
2. send what follows: directory entries, journal entries, dead letters;
3. learn which of all records so far are dealt with, that is: everything that follows from them is delivered;
4. commit, for each partition, the offset up to which all of them are.

A kill at any point reads the records above the committed offsets again; their entries bear the same ids and
control recognises them. A delivery that fails ends the process before step 4. So does an input partition that gives
more dead letters than stated (`streams.dead_letter_rate`): the record that was one too many stays uncommitted.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, TopicPartition

from schemas.codec import Codec
from streams import Broken
from streams.admission import JOURNAL, Admission, Outgoing
from streams.behind import follow_control
from streams.clock import Clock, make_clock
from streams.directory import follow_directory
from streams.inputs import LOOK_MS, Heard, Inputs
from streams.kafka import (
    CHECK_BROKERS,
    Consumed,
    at_end,
    checked,
    consumed,
    is_of_moving_group,
    make_producer,
    partition_count,
)
from streams.metrics import intake as metrics
from streams.metrics import show_lag
from streams.offsets import Offsets, Place
from streams.pacing import TRAINS
from streams.registry import connect
from streams.sender import Sender
from streams.topology import INTAKE
from streams.tracing import make_spans

if TYPE_CHECKING:
    from deploy.settings import Settings

WAITING_LIMIT = 10_000
_COMMIT_EVERY_S = 0.1
"""Also how late metrics may be: to count each turn would cost a tenth of what a record does that comes by itself."""
_LAG_EVERY_S = 1.0
_LOOK_WHEN_HELD_MS = 1
"""A delivery lets go what waits for it, and is heard of between two looks."""
_MOVED_ON = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._ASSIGNMENT_LOST,
}


class Intake:
    """One process of the group mandate-intake. Start as many as there are input partitions to share.

    `on_ready` is called once it has its share of the partitions. The clock is closed with it.
    """

    def __init__(
        self,
        settings: "Settings",
        *,
        codec: Codec | None = None,
        clock: Clock | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        codec = codec or connect(settings)
        self._clock = clock or make_clock(settings)
        self._sender = Sender(make_producer(settings), trains=make_producer(settings, **TRAINS))
        self._calls = follow_directory(settings, codec)
        partitions = partition_count(self._sender.producer, JOURNAL)
        self._behind = follow_control(settings, self._clock, partitions)
        self._admission = Admission(
            codec,
            self._clock,
            self._calls,
            partitions=partitions,
            wait_us=round(settings.unresolved_wait_s * 1_000_000),
            limit=WAITING_LIMIT,
            dead_letter_limit=settings.dead_letter_limit,
            behind=self._behind.of_lead,
        )
        self._offsets = Offsets()
        self._assigned: set[Place] = set()
        self._at_end: set[Place] = set()
        self._uncommitted: dict[Place, int] = {}
        self._commit_failed: KafkaError | None = None
        self._next_commit = 0.0
        self._meter = metrics.Meter()
        self._spans = make_spans(settings, "mandate-intake")
        self._next_lag = 0.0
        self._on_ready: Callable[[], None] | None = on_ready
        heard = Heard(self._assign, self._revoke, self._drop)
        self._inputs = Inputs(settings, str(INTAKE.group), heard, self._committed)

    def run(self, stop: Callable[[], bool]) -> None:
        """Works until `stop` says so, then delivers and commits what it has. Raises Broken."""
        with ExitStack() as closing:  # each is closed, also when another fails at it
            for part in (self._spans, self._clock, self._behind, self._calls, self._inputs):
                if part is not None:
                    closing.callback(part.close)
            self._inputs.subscribe()
            while not stop():
                self._turn()
            self._sender.flush()
            self._commit(wait=True)
            self._meter.count(self._admission.waiting)

    def _turn(self) -> None:
        records = self._consume()
        for record in records:
            began_ns = time.time_ns()
            out = self._take(record)
            self._send(out)
            self._meter.took(record.topic)
            self._meter.sending(out, record.timestamp_ms, self._clock.now())
            if self._spans is not None:
                self._spans.processed(record, began_ns)
        late = self._admission.take_news()
        if not records and self._admission.waiting and self._assigned <= self._at_end:
            late += self._admission.expire()
        if late:
            self._send(late)
            self._meter.sending(late, None, self._clock.now())
        self._sender.poll()
        now = time.monotonic()
        if now >= self._next_commit:
            self._commit()
            self._meter.count(self._admission.waiting)
        if now >= self._next_lag:
            self._next_lag = time.monotonic() + _LAG_EVERY_S
            show_lag(metrics.LAG, self._inputs.lag(self._assigned))
            metrics.show_behind(self._behind.each())

    def _consume(self) -> list[Consumed]:
        found: list[Consumed] = []
        for message in self._inputs.take(_LOOK_WHEN_HELD_MS if self._sender.holds else LOOK_MS):
            if checked(message) is not None:
                found.append(consumed(message))
                self._at_end.discard(Place(found[-1].topic, found[-1].partition))
            elif at_end(message):
                self._at_end.add(Place(str(message.topic()), int(message.partition() or 0)))
        return found

    def _take(self, record: Consumed) -> list[Outgoing]:
        if record.timestamp_ms is not None:
            self._clock.observe(record.timestamp_ms * 1000)
        receipt = self._offsets.received(Place(record.topic, record.partition), record.offset)
        return self._admission.take(record, receipt)

    def _send(self, records: list[Outgoing]) -> None:
        for record in records:
            self._sender.send(
                record.topic,
                record.value,
                key=record.key,
                headers=record.headers,
                partition=record.partition,
                timestamp_ms=record.timestamp_ms,
                delivered=record.receipt.release,
            )

    def _commit(self, *, wait: bool = False) -> None:
        self._next_commit = time.monotonic() + _COMMIT_EVERY_S
        self._uncommitted |= self._offsets.take_committable()
        if self._commit_failed is not None:
            raise Broken(f"Offsets can't be committed ({self._commit_failed.str()}).", CHECK_BROKERS)
        if not self._uncommitted:
            return
        failed = self._inputs.commit(self._uncommitted, wait=wait)
        self._uncommitted = {_place(mark): mark.offset for _, marks in failed for mark in marks}
        for error, marks in failed:
            self._committed(error, marks)

    def _committed(self, error: KafkaError | None, marks: list[TopicPartition]) -> None:
        """A commit ended. What another member owns by now is its to commit; the rest is tried again."""
        if error is None or error.code() in _MOVED_ON or error.code() == KafkaError._NO_OFFSET:
            return
        # A cluster that stays away ends the process by a delivery.
        if not is_of_moving_group(error):
            self._commit_failed = error
        for mark in marks:
            place = _place(mark)
            if place in self._assigned:
                self._uncommitted.setdefault(place, mark.offset)

    def _assign(self, places: set[Place]) -> None:
        self._assigned |= places
        if self._on_ready is not None and self._inputs.is_ready:
            self._on_ready()
            self._on_ready = None

    def _revoke(self, places: set[Place]) -> None:
        """What waits or was not delivered the next owner reads again."""
        self._sender.flush()
        self._commit(wait=True)
        self._drop(places)

    def _drop(self, places: set[Place]) -> None:
        self._offsets.forget(places)
        self._admission.forget(places)
        self._assigned -= places
        self._at_end -= places
        for place in places:
            self._uncommitted.pop(place, None)


def _place(mark: TopicPartition) -> Place:
    return Place(mark.topic, mark.partition)
