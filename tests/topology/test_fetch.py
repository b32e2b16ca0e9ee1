"""Reading the journal with librdkafka: on a real broker, from the offset that is told, as long as there is room."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.settings import Settings
from streams import Broken
from streams.kafka import make_producer
from streams.sender import Sender
from streams.transport.fetch import FULL, MAX_BATCH, ROOM, Fetch, Found

pytestmark = pytest.mark.broker
COUNT = 6_000
Place = tuple[int, int]


@pytest.fixture(scope="module")
def topic(stack: Settings) -> Iterator[str]:
    """A topic of two partitions with COUNT records in each."""
    name = f"fetch-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({**stack.client_config()})
    admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])[name].result()
    sender = Sender(make_producer(stack))
    for number in range(COUNT):
        for partition in (0, 1):
            sender.send(name, b"%d" % number, key=None, partition=partition)
    sender.flush()
    yield name
    admin.delete_topics([name])[name].result()


class Reading:
    """What arrived, and how much waits: as much as the test says. full_from: partition 0 is full after so many."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.entries = {0: 0, 1: 0}
        self.arrived: list[tuple[int, int, int]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.full_from: int | None = None
        self.fetch = Fetch(settings, topic, self._arrived, self)

    def _arrived(self, epoch: int, found: Found) -> None:
        self.arrived += [(epoch, number, record.offset) for number, records in found.items() for record in records]
        if self.full_from is not None and len(self.of(0)) > self.full_from:
            self.entries[0] = FULL
        self.may_go_on.wait(30)

    def waiting(self, partition: int) -> int:
        return self.entries[partition]

    def work(self) -> float:
        return 0.05

    def has_room(self) -> bool:
        return True

    def of(self, partition: int, epoch: int = 1) -> list[int]:
        """Offsets that arrived of a partition, in their order."""
        return [offset for e, number, offset in self.arrived if (e, number) == (epoch, partition)]

    async def until(self, done: Callable[[], bool], within_s: float = 30) -> None:
        """Waits until it is so."""
        async with asyncio.timeout(within_s):
            while not done():
                await asyncio.sleep(0.02)

    async def at_rest(self) -> int:
        """Waits until nothing arrives any more; how many records have."""
        before = -1
        while before != len(self.arrived):
            before = len(self.arrived)
            await asyncio.sleep(0.5)
        return before


def reading(settings: Settings, topic: str, drive: Callable[[Reading], Coroutine[Any, Any, None]]) -> None:
    """Runs a test on a reader, and ends it."""

    async def run() -> None:
        made = Reading(settings, topic)
        try:
            await drive(made)
        finally:
            await asyncio.to_thread(made.fetch.close)

    asyncio.run(run())


def test_each_partition_is_read_from_its_offset_on_without_a_gap_and_its_end_is_told(
    stack: Settings, topic: str
) -> None:
    async def drive(reader: Reading) -> None:
        assert reader.fetch.end(0) is None
        reader.fetch.begin({0: 100, 1: 0}, 1)
        await reader.until(lambda: len(reader.arrived) == 2 * COUNT - 100)
        assert reader.of(0) == list(range(100, COUNT))
        assert reader.of(1) == list(range(COUNT))
        await reader.until(lambda: reader.fetch.end(0) == COUNT)
        assert reader.fetch.end(7) is None

    reading(stack, topic, drive)


def test_who_is_told_late_where_to_begin_reads_at_once(stack: Settings, topic: str) -> None:
    # Its client would look for the topic a second after it was made, often, and read nothing before.
    waited = []

    async def drive(reader: Reading) -> None:
        await asyncio.sleep(0.05 + 0.02 * len(waited))
        began = time.monotonic()
        reader.fetch.begin({0: 0, 1: 0}, 1)
        await reader.until(lambda: bool(reader.arrived))
        waited.append(time.monotonic() - began)

    for _ in range(14):
        reading(stack, topic, drive)
    assert sum(seconds > 0.4 for seconds in waited) <= 1


def test_a_partition_that_is_full_is_left_alone_until_there_is_room_and_then_goes_on_where_it_was(
    stack: Settings, topic: str
) -> None:
    async def drive(reader: Reading) -> None:
        reader.full_from = 0
        reader.fetch.begin({0: 0, 1: 0}, 1)
        await reader.until(lambda: len(reader.of(1)) == COUNT)  # the other one is read
        stopped = await reader.at_rest() - COUNT
        assert 0 < stopped < COUNT
        reader.full_from = None
        reader.entries[0] = ROOM + 1  # not yet
        assert await reader.at_rest() == stopped + COUNT
        reader.entries[0] = ROOM
        await reader.until(lambda: len(reader.of(0)) >= COUNT)
        assert reader.of(0) == list(range(COUNT))

    reading(stack, topic, drive)


def test_a_partition_that_was_full_when_it_was_taken_away_is_read_when_it_comes_back(
    stack: Settings, topic: str
) -> None:
    async def drive(reader: Reading) -> None:
        reader.full_from = 0
        reader.fetch.begin({0: 0, 1: 0}, 1)
        await reader.until(lambda: len(reader.of(1)) == COUNT)
        await reader.at_rest()
        reader.full_from, reader.entries[0] = None, 0
        reader.fetch.begin({}, 2)
        reader.fetch.begin({0: 5_000, 1: COUNT}, 3)
        await reader.until(lambda: len(reader.of(0, epoch=3)) == COUNT - 5_000)
        assert reader.of(0, epoch=3) == list(range(5_000, COUNT))

    reading(stack, topic, drive)


def test_no_more_is_handed_over_while_what_was_read_is_being_judged(stack: Settings, topic: str) -> None:
    async def drive(reader: Reading) -> None:
        reader.may_go_on.clear()
        reader.fetch.begin({0: 0, 1: 0}, 1)
        await reader.until(lambda: bool(reader.arrived))
        assert await reader.at_rest() <= MAX_BATCH
        reader.may_go_on.set()
        await reader.until(lambda: len(reader.arrived) == 2 * COUNT)

    reading(stack, topic, drive)


def test_records_bear_the_epoch_of_the_assignment_that_they_were_read_under(stack: Settings, topic: str) -> None:
    async def drive(reader: Reading) -> None:
        reader.fetch.begin({0: 0, 1: 0}, 1)
        await reader.until(lambda: len(reader.arrived) > 0)
        reader.fetch.begin({1: 5_000}, 2)
        await reader.until(lambda: len(reader.of(1, epoch=2)) == COUNT - 5_000)
        assert reader.of(1, epoch=2) == list(range(5_000, COUNT))
        assert reader.of(0, epoch=2) == []
        reader.fetch.begin({}, 3)
        await reader.at_rest()
        assert not [epoch for epoch, _, _ in reader.arrived if epoch == 3]

    reading(stack, topic, drive)


def test_a_partition_is_read_again_from_an_offset(stack: Settings, topic: str) -> None:
    async def drive(reader: Reading) -> None:
        reader.fetch.begin({0: 5_990}, 1)
        await reader.until(lambda: len(reader.of(0)) == 10)
        reader.fetch.again(0, 5_995)
        await reader.until(lambda: len(reader.of(0)) == 15)
        assert reader.of(0)[10:] == list(range(5_995, COUNT))

    reading(stack, topic, drive)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What the process would have ended with."""
    errors: list[BaseException] = []
    monkeypatch.setattr("streams.transport.fetch.end_process", errors.append)
    return errors


def test_an_offset_that_the_log_does_not_hold_ends_the_process(
    stack: Settings, topic: str, ended: list[BaseException]
) -> None:
    async def drive(reader: Reading) -> None:
        reader.fetch.begin({0: COUNT + 7}, 1)
        await reader.until(lambda: bool(ended))
        assert isinstance(ended[0], Broken)
        assert reader.arrived == []

    reading(stack, topic, drive)


def test_a_failure_in_the_thread_ends_the_process_whatever_its_kind(
    stack: Settings, topic: str, ended: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drive(reader: Reading) -> None:
        del reader.entries[0]  # whoever is asked how much waits fails
        reader.fetch.begin({0: 0}, 1)
        await reader.until(lambda: bool(ended))
        ended.clear()
        defect = RuntimeError("a defect")
        again = Reading(stack, topic)
        monkeypatch.setattr(again.fetch, "_regulate", lambda: (_ for _ in ()).throw(defect))
        await reader.until(lambda: ended == [defect])

    reading(stack, topic, drive)
