"""Sending on a schedule and hearing the verdicts, each with its time on one clock (CLOCK_MONOTONIC).

Latency counts from the time at which a request *should* have been sent, also when the sender was late with it:
a stall of the system under test can't hide by slowing its own load (no coordinated omission).
"""

import gc
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.settings import Settings
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.records import Decision, JournalEntry, LeadId, ReasonCode, RequestId, TimeUs, Verdict
from streams.kafka import make_consumer, make_producer, partition_count
from tests.benchmarks.workload import Event

DECISIONS = TOPIC_OF[Decision]
JOURNAL = TOPIC_OF[JournalEntry]
_TRACE: list[tuple[str, str | bytes | None]] = [
    ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
]
_POLL_EVERY = 64
# An idempotent producer takes a core while it waits for a slow broker (docs/decisions/pacing.md). Those who send events
# are not on the machine of the systems that are measured: they must not take it from them.
_UNTIRING = {"enable.idempotence": False, "max.in.flight.requests.per.connection": 5}


class Shot(NamedTuple):
    """One encoded record and when it is due, in seconds from the start."""

    due_s: float
    topic: str
    key: str
    value: bytes
    request_id: RequestId | None


class Sent(NamedTuple):
    """When each request was due (seconds, monotonic), and how late each record was really handed over (ms)."""

    due: dict[RequestId, float]
    late_ms: list[float]
    began: float
    ended: float


class Answers:
    """The first verdict on each request, with the time at which it was consumed."""

    def __init__(self, settings: Settings, codec: Codec, prefix: str) -> None:
        self._codec = codec
        self._consumer: Consumer = make_consumer(settings, "benchmark-answers")
        self._ends: Consumer = make_consumer(settings, "benchmark-ends")
        topic = prefix + DECISIONS
        places = [TopicPartition(topic, number) for number in range(partition_count(self._consumer, topic))]
        for place in places:
            place.offset = self._ends.get_watermark_offsets(place, timeout=15)[1]
        self._consumer.assign(places)
        self._journal = [TopicPartition(prefix + JOURNAL, place.partition) for place in places]
        self._raw: deque[tuple[float, bytes, bytes, int]] = deque()
        self.at: dict[RequestId, float] = {}
        self.verdicts: dict[RequestId, Verdict] = {}
        self.late: set[RequestId] = set()
        """Requests that were answered TOO_LATE."""
        self.stamped: dict[RequestId, float] = {}
        """When intake stamped each request, on the monotonic clock, to the millisecond."""
        self.leads_on: dict[int, set[LeadId]] = {}
        """Leads of each partition that an answer was about; of an earlier round too, whose defers may end late."""
        self._closing = False
        self._thread = threading.Thread(target=self._listen, name="answers", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._closing:
            message = self._consumer.poll(0.2)
            if message is not None and message.error() is None:
                at = time.monotonic()
                self._raw.append((at, message.value() or b"", message.key() or b"", message.partition() or 0))

    def look(self) -> None:
        """Decodes what was heard."""
        wall_ahead = time.time() - time.monotonic()
        while self._raw:
            at, value, key, partition = self._raw.popleft()
            self.leads_on.setdefault(partition, set()).add(LeadId(key.decode()))
            decision = self._codec.decode(Decision, value)
            self.at.setdefault(decision.request_id, at)
            self.verdicts.setdefault(decision.request_id, decision.verdict)
            if any(reason.code is ReasonCode.TOO_LATE for reason in decision.criteria[0].reasons):
                self.late.add(decision.request_id)
            self.stamped.setdefault(decision.request_id, decision.at / 1e6 - wall_ahead)

    def wait_for(self, requests: Sequence[RequestId], within_s: float, alive: Callable[[], None]) -> bool:
        """True once each request has a verdict; False when some had none in time."""
        until = time.monotonic() + within_s
        missing = set(requests)
        while missing and time.monotonic() < until:
            time.sleep(0.02)
            alive()
            self.look()
            missing = {request for request in missing if request not in self.at}
        return not missing

    def journal_end(self) -> int:
        """How many entries the journal has had."""
        return sum(self._ends.get_watermark_offsets(place, timeout=15)[1] for place in self._journal)

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self._consumer.close()
        self._ends.close()


class Gun:
    """Sends shots, by one producer that waits for all in-sync replicas."""

    def __init__(self, settings: Settings, codec: Codec, prefix: str) -> None:
        self._producer: Producer = make_producer(settings, **_UNTIRING)
        self._codec = codec
        self._prefix = prefix

    def load(self, event: Event, due_s: float) -> Shot:
        """Encodes an event."""
        return Shot(due_s, self._prefix + event.topic, event.lead, self._codec.encode(event.value), event.request_id)

    def fire(self, shots: Sequence[Shot], start: float) -> Sent:
        """Sends each shot at its time after `start` (monotonic); one that is late goes at once."""
        due: dict[RequestId, float] = {}
        late: list[float] = []
        with _no_collection():
            for number, shot in enumerate(shots):
                at = start + shot.due_s
                ahead = at - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
                self._send(shot)
                late.append((time.monotonic() - at) * 1_000)
                if shot.request_id is not None:
                    due[shot.request_id] = at
                if number % _POLL_EVERY == 0:
                    self._producer.poll(0)
        ended = time.monotonic()
        self._producer.flush(30)
        return Sent(due, late, start, ended)

    def _send(self, shot: Shot) -> None:
        while True:
            try:
                self._producer.produce(shot.topic, shot.value, shot.key, headers=_TRACE)
                return
            except BufferError:
                self._producer.poll(0.01)


def schedule(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Times of arrivals as independent senders make them: a Poisson process, from a seed."""
    chance = random.Random(seed)
    at = chance.expovariate(rate)
    while at < seconds:
        yield at
        at += chance.expovariate(rate)


def wall_us() -> TimeUs:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1_000


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
