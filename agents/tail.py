"""Reads whole topics without a group, in a thread: nothing is committed, nothing is shared out."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Literal

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from agents.errors import MandateUnavailable
from agents.feed import RevocationFeed
from schemas.codec import Codec, CodecError
from schemas.records import Revocation

log = logging.getLogger("mandate.agents")
log.addHandler(logging.NullHandler())  # what librdkafka says; the agent's own logging may want it

REVOCATIONS = "permission.revocations"
_METADATA_S = 10.0
_POLL_S = 0.1
_JOIN_S = 10.0
# So many reports in a row of no connection, of one each five seconds, and the client is made anew.
_ALONE_REPORTS = 6
_CONNECTED = ("UP", "UPDATE")
# librdkafka goes on by itself after these; what is late because of them shows as an answer that does not come
# in time, and as a revocation feed that lags.
_PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._MAX_POLL_EXCEEDED,
    }
)
_CONSUMER: dict[str, str | int | bool] = {
    "group.id": "mandate-agent",  # librdkafka wants one; nothing joins it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 5,
    "statistics.interval.ms": 5_000,
}


class _Watch:
    """Counts a client's reports of no connection that came one after the other."""

    def __init__(self) -> None:
        self.alone = 0

    def __call__(self, statistics: str) -> None:
        brokers = json.loads(statistics)["brokers"].values()
        self.alone = 0 if any(broker["state"] in _CONNECTED for broker in brokers) else self.alone + 1


class Tail:
    """A consumer of all partitions of some topics, in a thread of its own.

    start: "beginning", or "end": what is produced after `begin` returned is read, nothing before it.
    trouble: the last error while there is one that librdkafka gets over by itself, else empty.
    take: called with each record, in the thread. lost: called once when the tail ends by a failure; a record that
    `take` raises for is one.
    """

    def __init__(
        self,
        kafka: Mapping[str, str | int],
        topics: tuple[str, ...],
        *,
        start: Literal["beginning", "end"],
        take: Callable[[Message], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._kafka = kafka
        self._topics = topics
        self._start = start
        self._take = take
        self._lost = lost
        self._stopping = threading.Event()
        self._caught_up = threading.Event()
        self._behind: set[tuple[str, int]] = set()
        self._consumer: Consumer | None = None
        self._next: dict[tuple[str, int], int] = {}
        self._watch = _Watch()
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name=f"mandate {topics[0]}", daemon=True)

    def begin(self) -> None:
        """Fix where to start and read on from there; MandateUnavailable when that can't be found out."""
        self._consumer = self._connect()
        try:
            places = [place for topic in self._topics for place in self._places(self._consumer, topic)]
        except BaseException:
            self._consumer.close()
            raise
        self._next = {(place.topic, place.partition): place.offset for place in places}
        self._behind = set(self._next)
        self._consumer.assign(places)
        self._thread.start()

    def wait_caught_up(self, timeout_s: float) -> bool:
        """True once everything that was there at the beginning has been taken."""
        return self._caught_up.wait(timeout_s)

    def stop(self) -> None:
        """End the thread and close the consumer."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)

    def _places(self, consumer: Consumer, topic: str) -> list[TopicPartition]:
        try:
            places = [TopicPartition(topic, n) for n in range(partition_count(consumer, topic))]
            for place in places:
                # Asked for now: the mark OFFSET_END is looked up later, and answers in between would be missed.
                at_end = self._start == "end"
                place.offset = _end(consumer, place) if at_end else OFFSET_BEGINNING
        except KafkaException as error:
            consumer.poll(0)  # has it say what its trouble is
            raise MandateUnavailable(
                f"Kafka does not answer ({self.trouble or error.args[0].str()}): check its address and credentials"
            ) from error
        return places

    def _connect(self) -> Consumer:
        self._watch = _Watch()
        watched = {"error_cb": self._note, "stats_cb": self._watch}
        return Consumer({**_CONSUMER, **self._kafka, **watched}, logger=log)

    def _begin_again(self, before: Consumer) -> Consumer:
        """Another client, that goes on where the one before it is.

        A broker that was paused may tell that there are no brokers at all. librdkafka (2.13 to 2.16, its issue 5301)
        then forgets every address and never looks for one again. Such a client may never come back from its close.
        """
        threading.Thread(target=before.close, name="close", daemon=True).start()
        consumer = self._connect()
        consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])
        return consumer

    def _note(self, error: KafkaError) -> None:
        self.trouble = error.str()

    def _run(self) -> None:
        assert self._consumer is not None
        try:
            while not self._stopping.is_set():
                if self._watch.alone >= _ALONE_REPORTS:
                    self._consumer = self._begin_again(self._consumer)
                message = self._consumer.poll(_POLL_S)
                if message is not None and self._readable(message):
                    self._take(message)
        except Exception as error:
            self._lost(error)
        finally:
            self._consumer.close()

    def _readable(self, message: Message) -> bool:
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            self.trouble = ""
        if error is None:
            self._next[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._behind.discard((message.topic() or "", message.partition() or 0))
            if not self._behind:
                self._caught_up.set()
        elif error.fatal() or not (error.retriable() or error.code() in _PASSING):
            raise MandateUnavailable(f"{', '.join(self._topics)} can't be read ({error.str()}): check the brokers")
        return False


class RevocationTail:
    """Keeps a revocation feed up to date from Kafka.

    From a record that can't be read, or a failure of the reader, on, the feed knows nothing of that partition any
    longer, and verifiers refuse: what was revoked there can't be known.
    """

    def __init__(self, kafka: Mapping[str, str | int], codec: Codec) -> None:
        self._codec = codec
        self.feed = RevocationFeed(_count_partitions(kafka, REVOCATIONS))
        self._tail = Tail(kafka, (REVOCATIONS,), start="beginning", take=self._take, lost=self.feed.lose_all)

    def begin(self, ready_within_s: float = 15.0) -> None:
        """Read what there is, then what comes; returns when what there was is known."""
        self._tail.begin()
        if not self._tail.wait_caught_up(ready_within_s):
            self._tail.stop()
            raise MandateUnavailable(f"{REVOCATIONS} could not be read within {ready_within_s:g} s: check the brokers")

    def stop(self) -> None:
        """End the thread; the feed ages from here on."""
        self._tail.stop()

    def _take(self, message: Message) -> None:
        partition, value = message.partition() or 0, message.value()
        if value is None:  # a tombstone of compaction: whatever it named is long over
            return
        try:
            self.feed.observe(self._codec.decode(Revocation, value), partition)
        except CodecError as error:
            self.feed.lose(partition, error)


def partition_count(consumer: Consumer, topic: str) -> int:
    """Number of partitions of a topic; MandateUnavailable when there is no such topic."""
    found = consumer.list_topics(topic, timeout=_METADATA_S).topics[topic]
    if found.error is not None or not found.partitions:
        raise MandateUnavailable(f"there is no topic {topic}: is this the Kafka that Mandate runs on?")
    return len(found.partitions)


def _count_partitions(kafka: Mapping[str, str | int], topic: str) -> int:
    trouble: list[str] = []
    config = {**_CONSUMER, **kafka, "error_cb": lambda error: trouble.append(error.str())}
    consumer = Consumer(config, logger=log)
    try:
        return partition_count(consumer, topic)
    except KafkaException as error:
        consumer.poll(0)  # has it say what its trouble is
        raise MandateUnavailable(
            f"Kafka does not answer ({(trouble or [error.args[0].str()])[-1]}): check its address and credentials"
        ) from error
    finally:
        consumer.close()


def _end(consumer: Consumer, place: TopicPartition) -> int:
    return int(consumer.get_watermark_offsets(place, timeout=_METADATA_S)[1])
