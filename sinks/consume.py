"""How a sink reads: given partitions from given offsets, without a consumer group, in one thread.

Nothing here decides what a record means. A reader never skips: where the topic does not hold what the store expects
next, the process ends and says so.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from prometheus_client import Gauge
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from streams import Broken
from streams.kafka import CHECK_BROKERS, Consumed, at_end, checked, consumed, lag_of, make_consumer, partition_count
from streams.metrics import show_lag

if TYPE_CHECKING:
    from deploy.settings import Settings

_BROKER_S = 15.0
_POLL_S = 0.1
_PATIENCE_POLLS = 300
_LAG_EVERY_S = 1.0
# What a client that asks the former leader of a partition is told; asking makes it look for the new one.
_LEADER_MOVES = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
    }
)


class Place(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class Stop:
    """Set by SIGTERM or SIGINT; the loop ends after the batch at hand is in the store."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Takes over both signals for the length of the block; for the main thread alone."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


class Reader:
    """Records of some topics from the offsets that a store holds."""

    def __init__(self, settings: "Settings", name: str, topics: tuple[str, ...]) -> None:
        self._consumer = make_consumer(
            settings, f"mandate-{name}", **{"enable.partition.eof": True, "auto.offset.reset": "error"}
        )
        self.places = places_of(self._consumer, topics)
        self._ends: dict[Place, int] = {}
        self._next_lag = 0.0

    def begin(self, stored: Mapping[Place, int], *, skip_lost: bool = False) -> None:
        """Where the store holds no offset, reading begins at the first record.

        skip_lost: go on at the oldest record held where retention removed some before they were read; else that is
        Broken, because nobody else would notice.
        """
        starts = []
        for place in self.places:
            low, high = watermarks(self._consumer, place)
            start = _start(place, stored.get(place), low, high, skip_lost)
            starts.append(TopicPartition(*place, start))
            if start < high:
                self._ends[place] = high
        self._consumer.assign(starts)

    @property
    def caught_up(self) -> bool:
        """Whether all was read that was there at `begin`; while control lives, ticks never leave the topics at rest."""
        return not self._ends

    def cluster_id(self) -> str:
        """Id of the Kafka cluster: offsets mean nothing on another one."""
        return str(self._consumer.list_topics(timeout=_BROKER_S).cluster_id)

    def read(self, limit: int, timeout_s: float) -> list[Consumed]:
        """Up to `limit` records, in order within a partition; what came within the time, maybe nothing."""
        records = []
        for message in self._consumer.consume(limit, timeout_s):
            if checked(message) is not None:
                record = consumed(message)
                records.append(record)
                place = Place(record.topic, record.partition)
                if record.offset + 1 >= self._ends.get(place, math.inf):
                    del self._ends[place]
            elif at_end(message):  # also where the last ones are gone
                self._ends.pop(place_of(message), None)
        return records

    def show_lag(self, gauge: Gauge) -> None:
        """Shows what is not read yet, once a second at most."""
        if time.monotonic() >= self._next_lag:
            self._next_lag = time.monotonic() + _LAG_EVERY_S
            show_lag(gauge, lag_of(self._consumer, self.places))

    def close(self) -> None:
        """Leaves the broker; nothing is committed to it."""
        self._consumer.close()


def _start(place: Place, stored: int | None, low: int, high: int, skip_lost: bool) -> int:
    if stored is None:
        return low
    if stored > high:
        raise Broken(
            f"{place.topic}[{place.partition}] ends at {high}, but {stored} was to be read next: "
            "the topic was made anew or lost records.",
            "Use a new store, or bring the records back.",
        )
    if stored < low and not skip_lost:
        raise Broken(
            f"{place.topic}[{place.partition}] begins at {low}, but {stored} was to be read next: "
            f"retention removed {low - stored} records unread.",
            "To go on without them, use --skip-lost.",
        )
    return max(stored, low)


class Tail:
    """Whole topics, read from their beginning as far as they go at the moment of asking.

    `catch_up` returns only when every record that the broker had acknowledged before the call was handled: what a
    judgement rests on is then as new as the record that is judged.
    """

    def __init__(self, settings: "Settings", name: str, handlers: Mapping[str, Callable[[Consumed], None]]) -> None:
        self._handlers = handlers
        self._admin = AdminClient({**settings.client_config(), "log_level": 0})
        self._consumer = make_consumer(settings, f"mandate-{name}", **{"enable.partition.eof": True})
        self._next = dict.fromkeys(places_of(self._consumer, tuple(handlers)), 0)
        self._consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in self._next])

    def catch_up(self) -> None:
        """Handles all there is now; Broken when the broker does not deliver it."""
        goals = self._ends()
        silent = 0
        while silent < _PATIENCE_POLLS:
            if all(self._next[place] >= goal for place, goal in goals.items()):
                return
            messages = self._consumer.consume(1000, _POLL_S)
            for message in messages:
                self._take(message)
            silent = 0 if messages else silent + 1
        raise Broken(f"{', '.join(self._handlers)} could not be read to the end.", CHECK_BROKERS)

    def read_on(self) -> None:
        """Handles what has come, without waiting: an idle sink has little left to catch up with."""
        for message in self._consumer.consume(1000, 0):
            self._take(message)

    def close(self) -> None:
        """Leaves the broker."""
        self._consumer.close()

    def _ends(self) -> dict[Place, int]:
        again = retry_if_exception(_is_of_a_move)
        try:
            return Retrying(retry=again, stop=stop_after_delay(_BROKER_S), wait=wait_fixed(_POLL_S), reraise=True)(
                self._ask_ends
            )
        except KafkaException as error:
            raise Broken(f"the ends of {', '.join(self._handlers)} can't be read ({error}).", CHECK_BROKERS) from error

    def _ask_ends(self) -> dict[Place, int]:
        # Asked on a connection of its own: on the consumer's it would wait behind a fetch that waits for records.
        asked = {TopicPartition(*place): OffsetSpec.latest() for place in self._next}
        answers = self._admin.list_offsets(asked, request_timeout=_BROKER_S)
        return {Place(of.topic, of.partition): answer.result().offset for of, answer in answers.items()}

    def _take(self, message: Message) -> None:
        if checked(message) is not None:
            record = consumed(message)
            self._handlers[record.topic](record)
            self._next[Place(record.topic, record.partition)] = record.offset + 1
        elif at_end(message):
            place = place_of(message)
            self._next[place] = max(self._next[place], message.offset() or 0)


def _is_of_a_move(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _LEADER_MOVES


def place_of(message: Message) -> Place:
    """Where a message, or the mark of a partition's end, comes from."""
    return Place(message.topic() or "", message.partition() or 0)


def places_of(consumer: Consumer, topics: tuple[str, ...]) -> tuple[Place, ...]:
    """Every partition of the topics."""
    return tuple(Place(topic, number) for topic in topics for number in range(partition_count(consumer, topic)))


def watermarks(consumer: Consumer, place: Place) -> tuple[int, int]:
    """Offset of the first record held and the one after the last."""
    try:
        found: tuple[int, int] | None = consumer.get_watermark_offsets(TopicPartition(*place), timeout=_BROKER_S)
    except KafkaException as error:
        raise Broken(f"the offsets of {place.topic} can't be read ({error}).", CHECK_BROKERS) from error
    if found is None:
        raise Broken(f"the offsets of {place.topic} did not come within {_BROKER_S:g} s.", CHECK_BROKERS)
    return found
