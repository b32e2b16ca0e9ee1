"""A real `mandate worker` in a process of its own, and the journal before and behind it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from deploy.settings import Settings
from schemas.codec import KIND_OF, Codec
from schemas.records import EntryKind, JournalEntry, LeadId, Record, TimeUs
from streams.kafka import make_consumer, make_producer

ROOT = Path(__file__).parents[2]
JOURNAL = "execution.journal"
READY = re.compile(r"control ready: partitions \[([\d, ]*)\]")
T = TypeVar("T")


class WorkerProcess:
    """One worker; its output is in files below `directory`."""

    def __init__(self, settings: Settings, directory: Path, command: tuple[str, ...] = ("worker",)) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._out, self._err = directory / "out.log", directory / "err.log"
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._ready_before = len(self.announcements())
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", *command],
                cwd=ROOT,
                env={**os.environ, **settings.to_env(), "PYTHONPATH": str(ROOT)},
                stdout=out,
                stderr=err,
            )

    def announcements(self) -> list[list[int]]:
        """Partitions of every "ready" line so far."""
        found = READY.findall(self._out.read_text()) if self._out.exists() else []
        return [[int(number) for number in line.split(",") if number.strip()] for line in found]

    def wait_ready(self, accept: Callable[[list[int]], bool] = bool, within_s: float = 40) -> list[int]:
        """Partitions once it has announced some that `accept` takes."""

        def look() -> list[int] | None:
            if self.process.poll() is not None:
                raise AssertionError(f"the worker ended ({self.process.returncode}): {self.errors()[-2000:]}")
            found = self.announcements()[self._ready_before :]
            return found[-1] if found and accept(found[-1]) else None

        return eventually(look, within_s)

    def errors(self) -> str:
        return self._err.read_text(errors="replace")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self, within_s: float = 15) -> int:
        """Exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)


@contextmanager
def worker(settings: Settings, directory: Path) -> Iterator[WorkerProcess]:
    """A worker that is ended in any case; one that was killed would keep its partitions for a session."""
    running = WorkerProcess(settings, directory)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            try:
                running.terminate()
            except subprocess.TimeoutExpired:
                running.kill()


def eventually(look: Callable[[], T | None], within_s: float = 30) -> T:
    """What `look` answers as soon as it is true."""
    until = time.monotonic() + within_s
    while True:
        if found := look():
            return found
        assert time.monotonic() < until, f"not within {within_s} s"
        time.sleep(0.05)


def entry_of(body: Record, at: TimeUs, number: int = 0) -> JournalEntry:
    """A journal entry as intake would make it."""
    lead = LeadId(getattr(body, "lead_id", ""))
    return JournalEntry(
        entry_id=f"{lead}-{at}-{number}",
        lead_id=lead,
        kind=KIND_OF[type(body)],
        at=at,
        source_topic="test",
        source_partition=0,
        source_offset=number,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        body=body,
    )


class Journal:
    """Appends to the journal and reads what control made of it."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._producer: Producer = make_producer(settings)
        self._consumer: Consumer = make_consumer(settings, "test-watermarks")

    def append(self, body: Record, *, partition: int = -1) -> tuple[int, int]:
        """Appends an entry now; its partition and offset."""
        entry = entry_of(body, time.time_ns() // 1_000_000 * 1000)
        return self.append_bytes(self._codec.encode(entry), entry.lead_id or None, partition, entry.at // 1000)

    def append_bytes(
        self, value: bytes, key: str | None, partition: int = -1, timestamp_ms: int = 0
    ) -> tuple[int, int]:
        placed: list[tuple[int, int]] = []

        def report(error: object, message: Message) -> None:
            assert error is None, error
            placed.append((message.partition() or 0, message.offset() or 0))

        headers = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
        self._producer.produce(JOURNAL, value, key, partition, report, timestamp=timestamp_ms, headers=headers)
        self._producer.flush(10)
        return placed[0]

    def end(self, topic: str, partition: int) -> int:
        """Offset after the last record."""
        return int(self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1])

    def committed(self, partition: int) -> int:
        """Offset that the group mandate-control has committed."""
        consumer = make_consumer(self._settings, "mandate-control")
        try:
            (place,) = consumer.committed([TopicPartition(JOURNAL, partition)], timeout=10)
            return int(place.offset)
        finally:
            consumer.close()

    def records(self, topic: str, partition: int, start: int = 0) -> list[Message]:
        """Records of a partition from an offset to its present end."""
        end = self.end(topic, partition)
        reader = make_consumer(self._settings, "test-reader", **{"enable.partition.eof": True})
        reader.assign([TopicPartition(topic, partition, start)])
        found: list[Message] = []
        try:
            while start < end:
                for message in reader.consume(500, 1.0):
                    if message.error() is None:
                        found.append(message)
                        start = (message.offset() or 0) + 1
                    else:
                        start = max(start, message.offset() or 0)
            return found
        finally:
            reader.close()

    def ticks(self, partition: int, start: int) -> Iterable[JournalEntry]:
        """Tick entries of a partition from an offset."""
        entries = (self._codec.decode(JournalEntry, m.value()) for m in self.records(JOURNAL, partition, start))
        return (entry for entry in entries if entry.kind is EntryKind.TICK)
