"""Sending from one thread: a delivery that fails ends the process, and what can't be sent yet waits its turn."""

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.headers import Headers
from streams import Broken
from streams.kafka import CHECK_BROKERS, remedy_of
from streams.pacing import Pacing, Record, Report

Delivered = Callable[[], None]
HELD_BYTES = 64 << 20
"""How much a `Sender` keeps until it can be sent; who sends more waits."""
_POLL_S = 0.2


class Sender:
    """A producer whose failures end the process.

    A failed delivery makes every later call raise Broken; nobody is told that it was delivered.
    trains: another producer, for what has to wait in numbers (`pacing.TRAINS`); for one that sends much.
    """

    def __init__(self, producer: Producer, *, trains: Producer | None = None) -> None:
        self.producer = producer
        self._trains = trains
        self._pacing = Pacing(self._hand)
        self._failure: Broken | None = None
        self.pending = 0

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: str | bytes | None,
        headers: Headers | None = None,
        partition: int = -1,
        timestamp_ms: int = 0,
        delivered: Delivered | None = None,
    ) -> None:
        """Queues one record; `delivered` runs inside a later poll or flush once the broker holds it.

        partition -1 lets the key choose; timestamp 0 is the wall clock.
        """

        def report(error: KafkaError | None, _message: Message) -> None:
            self.pending -= 1
            if error is not None:
                failure = Broken(f"{topic} did not take a record ({error.str()}).", remedy_of(error))
                self._failure = self._failure or failure
            elif delivered is not None:
                delivered()

        while self._pacing.waiting_bytes > HELD_BYTES:
            self.poll(_POLL_S)
        self.pending += 1
        self._pacing.offer(Record(topic, value, key, partition, timestamp_ms, headers, report))

    @property
    def holds(self) -> bool:
        """Whether a record waits until others are delivered: a poll sends it."""
        return self._pacing.waiting_bytes > 0

    def _hand(self, record: Record, report: Report, train: bool) -> bool:
        producer = self._trains if train and self._trains is not None else self.producer
        try:
            producer.produce(
                record.topic,
                record.value,
                key=record.key,
                partition=record.partition,
                timestamp=record.timestamp_ms,
                headers=record.headers,  # type: ignore[arg-type]  # list is invariant, its stub forgot
                on_delivery=report,
            )
        except BufferError:
            return False
        except KafkaException as error:
            self.pending -= 1
            reason = error.args[0].str()
            raise Broken(f"{record.topic} can't take a record ({reason}).", CHECK_BROKERS) from error
        return True

    def poll(self, timeout_s: float = 0.0) -> None:
        """Runs the callbacks of deliveries that ended."""
        self.producer.poll(timeout_s)
        if self._trains is not None:
            self._trains.poll(0)
        self._check()

    def flush(self) -> None:
        """Returns when every record so far is delivered; Broken when one was not."""
        while self.pending:
            for producer in (self.producer, self._trains):
                if producer is not None:
                    producer.flush(_POLL_S)
            self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
