"""Intakes on a real broker: in a thread or as the real process; and what they wrote."""

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from confluent_kafka import Consumer, TopicPartition

from deploy.settings import Settings
from schemas.catalogue import EVENT_INPUTS, TOPIC_OF
from schemas.codec import Codec
from schemas.headers import Headers
from schemas.records import CallEvent, DeadLetter, JournalEntry, Record
from streams.intake import Intake
from streams.kafka import Consumed, consumed, make_consumer, make_producer, partition_count, read_all
from streams.sender import Sender
from streams.topology import INTAKE

T = TypeVar("T")


def unique(name: str) -> str:
    """A name that no other test uses."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def eventually(look: Callable[[], T], *, within_s: float = 30.0) -> T:
    """The first true value of `look`, or its last one."""
    end = time.monotonic() + within_s
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


@contextmanager
def intake(settings: Settings) -> Iterator[None]:
    """An intake in a thread that has its share of the partitions; what it raised is raised at the end."""
    stop, ready = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            Intake(settings, on_ready=ready.set).run(stop.is_set)
        except BaseException as error:
            raised.append(error)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(60)
        yield
    finally:
        stop.set()
        thread.join(60)
    if raised:
        raise raised[0]


@contextmanager
def intake_process(settings: Settings, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`mandate intake` as its own process, once it said that it is ready."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", "intake"], stdout=out, stderr=subprocess.STDOUT, env=_env(settings)
        )
    try:
        assert eventually(lambda: b"intake ready" in log.read_bytes(), within_s=60), log.read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def _env(settings: Settings) -> dict[str, str]:
    import os

    return {**os.environ, **settings.to_env(), "PYTHONPATH": str(Path(__file__).parents[2])}


class Topics:
    """Writes inputs, reads what became of them."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self.settings = settings
        self.codec = codec
        self.sender = Sender(make_producer(settings))

    def put(
        self, value: Record, *, key: str = "any", partition: int = -1, at_ms: int = 0, headers: Headers | None = None
    ) -> None:
        self.sender.send(
            TOPIC_OF[type(value)],
            self.codec.encode(value),
            key=key,
            partition=partition,
            timestamp_ms=at_ms,
            headers=headers,
        )
        self.sender.flush()

    def put_bytes(self, topic: str, value: bytes, headers: Headers | None = None) -> None:
        self.sender.send(topic, value, key="any", headers=headers)
        self.sender.flush()

    def journal(self) -> list[tuple[Consumed, JournalEntry]]:
        """Every entry, partition by partition in order."""
        records = [consumed(message) for message in read_all(self.settings, "execution.journal")]
        return [(record, self.codec.decode(JournalEntry, record.value)) for record in records]

    def journal_of(self, lead: str) -> list[tuple[Consumed, JournalEntry]]:
        return [(record, entry) for record, entry in self.journal() if entry.lead_id == lead]

    def events_of(self, lead: str) -> list[str]:
        """Event ids of a lead's calls, in the journal's order."""
        return [entry.body.event_id for _, entry in self.journal_of(lead) if isinstance(entry.body, CallEvent)]

    def dead_letters(self) -> list[tuple[Consumed, DeadLetter]]:
        records = [consumed(message) for message in read_all(self.settings, "dead.letters")]
        return [(record, self.codec.decode(DeadLetter, record.value)) for record in records]

    def lag(self) -> int:
        """Input records that no intake has committed."""
        watcher: Consumer = make_consumer(self.settings, str(INTAKE.group))
        try:
            places = [
                TopicPartition(topic, number)
                for topic in EVENT_INPUTS
                for number in range(partition_count(watcher, topic))
            ]
            behind = 0
            for place in watcher.committed(places, timeout=15):
                low, high = watcher.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=15)
                behind += high - max(place.offset, low)
            return behind
        finally:
            watcher.close()
