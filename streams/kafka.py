"""Kafka clients built in one place from the settings, so that every process keeps the same promises.

A producer is idempotent, waits for all in-sync replicas, and partitions as Java clients do. A delivery that fails
is never logged and passed over: it surfaces as `Broken` and ends the process.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from schemas.catalogue import DEAD_LETTER_BYTES
from streams import Broken

if TYPE_CHECKING:
    from deploy.settings import Settings

CHECK_BROKERS = "Check MANDATE_KAFKA_BOOTSTRAP and the brokers, or `mandate status` for the local one."
CHECK_PERMISSIONS = (
    "This user lacks a permission: `mandate topics acls` prints what each part needs; as a super user, with --apply,"
    " it makes that."
)
_COMPLAIN_EVERY_S = 30.0
_METADATA_S = 15.0
_POLL_S = 0.2
# As long as a delivery is tried.
_REPORT_EVERY_MS = 5_000
ALONE_REPORTS = 6
CLOSE_WITHIN_S = 10.0
_CONNECTED = ("UP", "UPDATE")


_NOT_PERMITTED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
# The client does not call all of these retriable, but the group's offsets are only on their way to another broker.
_GROUP_MOVES = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._WAIT_COORD,
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
}


def remedy_of(error: KafkaError) -> str:
    """What the operator does about an error of the client."""
    return CHECK_PERMISSIONS if error.code() in _NOT_PERMITTED else CHECK_BROKERS


def is_of_moving_group(error: KafkaError) -> bool:
    """Whether what failed so at a group's coordinator is tried again later: the coordinator moves or is away."""
    return error.retriable() or error.code() in _GROUP_MOVES


class _Complaints:
    """What the client library complains about, on stderr: a line at most every half minute, not one each retry."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def __call__(self, error: KafkaError) -> None:
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _COMPLAIN_EVERY_S
            print(f"mandate: kafka: {error.str()}; trying again.", file=sys.stderr, flush=True)


class _BrokerStatus(msgspec.Struct):
    state: str


class _Statistics(msgspec.Struct):
    brokers: dict[str, _BrokerStatus]


class BrokerWatch:
    """Takes a client's statistics; raises Broken, out of its poll, when ALONE_REPORTS of them tell of no connection.

    Not only for outages. A broker that was paused may tell that there are no brokers at all; the client library
    (librdkafka 2.13 to 2.16, its issue 5301) then forgets every address and never looks for one again. Nothing else
    shows that: its polls return nothing, as if there were nothing to read.
    """

    def __init__(self) -> None:
        self._alone = 0

    def __call__(self, statistics: str) -> None:
        brokers = msgspec.json.decode(statistics, type=_Statistics).brokers.values()
        self._alone = 0 if any(broker.state in _CONNECTED for broker in brokers) else self._alone + 1
        if self._alone >= ALONE_REPORTS:
            alone_s = ALONE_REPORTS * _REPORT_EVERY_MS / 1000
            raise Broken(f"No broker was connected for {alone_s:.0f} s.", CHECK_BROKERS)


CLIENT_DEFAULTS: dict[str, Any] = {"log_level": 0, "error_cb": _Complaints()}
PRODUCER_DEFAULTS: dict[str, Any] = {
    **CLIENT_DEFAULTS,
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",
    # 0.5 gives a tenth more records a second from a backlog, and costs every hop a millisecond at low rates.
    "linger.ms": 0,
    "compression.type": "none",
    "delivery.timeout.ms": 30_000,
    # The topic's own limit decides; a dead letter is its original and a little more.
    "message.max.bytes": DEAD_LETTER_BYTES,
    "queue.buffering.max.messages": 200_000,
}
CONSUMER_DEFAULTS: dict[str, Any] = {
    **CLIENT_DEFAULTS,
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "fetch.min.bytes": 1,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 5,
    "partition.assignment.strategy": "cooperative-sticky",
    # A process that was killed is missed after six seconds, the least that brokers take by default.
    "session.timeout.ms": 6_000,
    "heartbeat.interval.ms": 1_000,
    # A producer needs no watch: a delivery that does not come to pass ends it.
    "statistics.interval.ms": _REPORT_EVERY_MS,
}


class EndingConsumer(Consumer):
    """A consumer whose close comes to an end, also where the client library's does not.

    A member of a group whose client forgot every broker (see `BrokerWatch`) waits in `close` for ever, and its process
    with it: alive, and without an error.
    """

    def close(self) -> None:
        """Leaves the group; after CLOSE_WITHIN_S it says so and returns: the group misses this member by itself."""
        failures: list[BaseException] = []
        close = super().close

        def run() -> None:
            try:
                close()
            except BaseException as error:
                failures.append(error)

        # What does not end keeps its thread, and with it the client: letting go of that would wait too.
        closing = threading.Thread(target=run, name="close", daemon=True)
        closing.start()
        closing.join(CLOSE_WITHIN_S)
        if closing.is_alive():
            print(f"mandate: kafka: a client did not end within {CLOSE_WITHIN_S:g} s.", file=sys.stderr, flush=True)
        for failure in failures:
            raise failure


def make_producer(settings: "Settings", **overrides: Any) -> Producer:
    """A bare producer with the project's guarantees; most callers want a `Sender`."""
    return Producer({**PRODUCER_DEFAULTS, **settings.client_config(), **overrides})


def make_consumer(settings: "Settings", group: str, **overrides: Any) -> EndingConsumer:
    """A consumer that commits only what it is told to, and starts at the earliest record."""
    watched = {**CONSUMER_DEFAULTS, "stats_cb": BrokerWatch()}
    return EndingConsumer({**watched, **settings.client_config(), "group.id": group, **overrides})


class Consumed(NamedTuple):
    """A consumed record. timestamp_ms None: its topic has none."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp_ms: int | None


def consumed(message: Message) -> Consumed:
    """A message without an error as a value."""
    kind, timestamp_ms = message.timestamp()
    return Consumed(
        cast(str, message.topic()),
        cast(int, message.partition()),
        cast(int, message.offset()),
        message.key(),
        message.value(),
        headers_of(message),
        None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
    )


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """All of them, or none when the name of one is not UTF-8: the client can't give them, and raises.

    It sets the error and returns a value all the same. A warm interpreter does not look after such a call and would
    raise it out of whatever comes next; `partial` always looks.
    """
    try:
        return cast("list[tuple[str, bytes | None]]", partial(message.headers)() or [])
    except (SystemError, UnicodeDecodeError):
        return []


def partition_count(client: Consumer | Producer, topic: str) -> int:
    """Number of partitions of a topic; Broken when the topic or the broker is not there."""
    try:
        found = client.list_topics(topic, timeout=_METADATA_S).topics[topic]
    except KafkaException as error:
        reason = error.args[0].str()
        raise Broken(f"The Kafka cluster does not answer ({reason}).", CHECK_BROKERS) from error
    if found.error is not None and found.error.code() in _NOT_PERMITTED:
        raise Broken(f"{topic} may not be looked at ({found.error.str()}).", CHECK_PERMISSIONS)
    if found.error is not None or not found.partitions:
        raise Broken(f"There is no topic {topic}.", "Run `mandate up` or `mandate topics --create`.")
    return len(found.partitions)


def lag_of(consumer: Consumer, places: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Records of each topic that were not consumed, as the last fetches told; asks nobody.

    A partition of which nothing was consumed yet counts as read: it is not known where it begins.
    """
    lag: dict[str, int] = {}
    try:
        for place in consumer.position([TopicPartition(*place) for place in places]):
            known = consumer.get_watermark_offsets(place, cached=True)
            end = known[1] if known is not None and place.offset >= 0 else place.offset
            lag[place.topic] = lag.get(place.topic, 0) + max(0, end - place.offset)
    except KafkaException:  # partitions are being taken away; it is only shown, and asked again in a second
        return {}
    return lag


def at_end(message: Message) -> bool:
    """Whether this is no record but the mark that a partition was read to its end."""
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def checked(message: Message) -> Message | None:
    """The message itself, None for the mark of a partition's end; Broken for an error that does not pass."""
    error = message.error()
    if error is None:
        return message
    if at_end(message) or (error.retriable() and not error.fatal()):
        return None
    raise Broken(f"{message.topic() or 'The cluster'} can't be read ({error.str()}).", remedy_of(error))


def follow(
    settings: "Settings",
    topics: Sequence[str],
    *,
    from_start: bool = True,
    stop: Callable[[], bool] = lambda: False,
    ready: Callable[[], None] | None = None,
) -> Iterator[Message]:
    """Records of whole topics, without a group: first what they hold, then what comes, until `stop` says so.

    ready: called once, when everything that was there at the start has been yielded.
    """
    consumer = make_consumer(settings, "mandate-follow", **{"enable.partition.eof": True})
    try:
        start = OFFSET_BEGINNING if from_start else OFFSET_END
        places = [
            TopicPartition(topic, number, start)
            for topic in topics
            for number in range(partition_count(consumer, topic))
        ]
        behind = {(place.topic, place.partition) for place in places}
        consumer.assign(places)
        while not stop():
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            record = checked(message)
            if record is not None:
                yield record
            elif at_end(message):
                behind.discard((message.topic(), message.partition()))
                if not behind and ready is not None:
                    ready()
                    ready = None
    finally:
        consumer.close()


def read_all(settings: "Settings", topic: str, *, within_s: float = 60.0) -> Iterator[Message]:
    """Every record that a topic holds now; Broken when that takes longer than `within_s`."""
    done: list[bool] = []
    end = time.monotonic() + within_s

    def stop() -> bool:
        return bool(done) or time.monotonic() >= end

    yield from follow(settings, [topic], stop=stop, ready=lambda: done.append(True))
    if not done:
        raise Broken(f"{topic} could not be read within {within_s:.0f} s.", CHECK_BROKERS)
