"""What can't be sent yet waits, and goes in its order and in full. What that saves: `faults/test_silent_broker.py`."""

from collections import deque
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from streams.pacing import LONG_TRAIN_BYTES, MANY, MUCH_BYTES, ON_THE_WAY, TRAIN_BYTES, Pacing, Record, Report

TOPIC = "dead.letters"
NOTHING = cast(Message, None)


def heard(_error: KafkaError | None, _message: Message) -> None:
    """Whoever sent it is not asked here."""


def record(name: str, *, partition: int = 0, size: int = 0) -> Record:
    return Record(TOPIC, name.encode() + bytes(size), None, partition, 0, None, heard)


class Producer:
    """What librdkafka was handed, by partition, and whether each came in a train."""

    def __init__(self, **options: Any) -> None:
        self.flying: deque[tuple[Record, Report]] = deque()
        self.handed: list[str] = []
        self.trains: list[bool] = []
        self.room = 1_000_000
        self.broken: set[str] = set()
        self.pacing = Pacing(self.hand, **options)

    def hand(self, record: Record, report: Report, train: bool) -> bool:
        name = (record.value or b"").rstrip(b"\0").decode()
        if name in self.broken:
            raise ValueError(name)
        if len(self.flying) >= self.room:
            return False
        self.flying.append((record, report))
        self.handed.append(name)
        self.trains.append(train)
        return True

    def offer(self, *names: str, **options: int) -> None:
        for name in names:
            self.pacing.offer(record(name, **options))

    def deliver(self, records: int = 1) -> None:
        """The broker acknowledges the oldest."""
        for _ in range(records):
            _, report = self.flying.popleft()
            report(None, NOTHING)


def names(count: int, start: int = 0) -> list[str]:
    return [f"r{number}" for number in range(start, start + count)]


def test_what_can_be_sent_goes_at_once_and_what_can_not_waits_for_deliveries() -> None:
    producer = Producer()
    producer.offer(*names(ON_THE_WAY + 3))
    assert producer.handed == names(ON_THE_WAY)
    assert producer.pacing.waiting_bytes > 0
    producer.deliver(2)
    assert producer.handed == names(ON_THE_WAY)  # two would go, and leave one behind in the client
    producer.deliver(1)
    assert producer.handed == names(ON_THE_WAY + 3)
    assert producer.pacing.waiting_bytes == 0


def test_a_few_that_wait_go_five_at_a_time() -> None:
    producer = Producer()
    producer.offer(*names(ON_THE_WAY + MANY - 1))
    producer.deliver(ON_THE_WAY)
    assert producer.handed == names(2 * ON_THE_WAY)
    producer.deliver(ON_THE_WAY)
    assert producer.handed == names(ON_THE_WAY + MANY - 1)
    assert not any(producer.trains)


def test_many_that_wait_go_in_a_train_once_nothing_is_on_its_way() -> None:
    producer = Producer()
    producer.offer(*names(ON_THE_WAY + MANY))
    producer.deliver(ON_THE_WAY - 1)
    assert producer.handed == names(ON_THE_WAY)
    producer.deliver(1)
    assert producer.handed == names(ON_THE_WAY + MANY)
    assert producer.trains == [False] * ON_THE_WAY + [True] * MANY
    producer.offer("late")
    producer.deliver(MANY - 1)
    assert producer.handed[-1] != "late"  # the last of a train may be in a second request, of another producer
    producer.deliver(1)
    assert producer.handed[-1] == "late"


def test_a_train_has_its_size() -> None:
    producer = Producer()
    size = TRAIN_BYTES // 4
    producer.offer(*names(ON_THE_WAY + MANY), size=size)
    producer.deliver(ON_THE_WAY)
    assert len(producer.flying) == 3  # a fourth would make it larger
    producer.deliver(3)
    assert len(producer.flying) == 3
    whole = Producer()
    whole.offer("one", size=2 * TRAIN_BYTES)
    assert whole.handed == ["one"]


@pytest.mark.parametrize(
    ("gathers", "waiting", "together"),
    [
        (False, LONG_TRAIN_BYTES - 1, 2),
        (False, LONG_TRAIN_BYTES, 10),
        (False, 2 * LONG_TRAIN_BYTES, 5),
        (True, LONG_TRAIN_BYTES, 2),
        (True, MUCH_BYTES, 10),
    ],
)
def test_a_train_is_long_when_much_waits_and_all_of_it_where_it_is_gathered(
    gathers: bool, waiting: int, together: int
) -> None:
    producer = Producer(gathers=gathers)
    producer.offer(*names(ON_THE_WAY))
    producer.pacing.push()
    each = waiting // 10 - record("r10").size
    producer.offer(*names(9, start=10), size=each)
    producer.offer("r19", size=each + waiting % 10)
    assert producer.pacing.waiting_bytes == waiting
    producer.deliver(ON_THE_WAY)
    assert len(producer.flying) == together


def test_partitions_do_not_wait_for_each_other() -> None:
    producer = Producer()
    producer.offer(*names(ON_THE_WAY + 1), partition=0)
    producer.offer("other", partition=1)
    assert producer.handed == [*names(ON_THE_WAY), "other"]


def test_what_is_gathered_goes_when_it_is_much_or_when_somebody_waits() -> None:
    producer = Producer(gathers=True)
    producer.offer(*names(MANY))
    assert producer.handed == []
    producer.pacing.push()
    assert producer.handed == names(MANY)
    producer.offer("next")
    producer.pacing.push()
    assert producer.handed == names(MANY)
    producer.deliver(MANY)
    assert producer.handed == [*names(MANY), "next"]
    producer.deliver(1)
    producer.offer("later", size=TRAIN_BYTES)
    assert producer.handed[-1] == "later"
    assert all(producer.trains)


def test_what_a_full_producer_does_not_take_is_offered_again() -> None:
    producer = Producer()
    producer.room = 1
    producer.offer("a")
    producer.offer("b", partition=1)
    producer.offer("c", partition=1)
    assert producer.handed == ["a"]
    producer.deliver()
    assert producer.handed == ["a", "b"]
    producer.deliver()
    assert producer.handed == ["a", "b", "c"]


def test_a_record_that_the_client_refuses_is_given_up_and_those_behind_it_are_not() -> None:
    producer = Producer()
    producer.broken = {"r1", "r7"}
    with pytest.raises(ValueError, match="r1"):
        producer.offer("r0", "r1")
    producer.offer(*names(6, start=2))  # r7 has to wait
    producer.offer("r8")
    with pytest.raises(ValueError, match="r7"):
        producer.deliver(6)
    producer.deliver(len(producer.flying))
    producer.pacing.offer(record("r9"))
    assert producer.handed == ["r0", "r2", "r3", "r4", "r5", "r6", "r8", "r9"]


def test_behind_a_failed_delivery_nothing_goes() -> None:
    producer = Producer()
    producer.offer(*names(ON_THE_WAY + 2))
    _, report = producer.flying.popleft()
    report(KafkaError(KafkaError._MSG_TIMED_OUT), NOTHING)
    producer.deliver(ON_THE_WAY - 1)
    assert producer.handed == names(ON_THE_WAY)


@given(st.lists(st.integers(-12, 12), max_size=60), st.booleans())
def test_all_arrive_in_their_order_whatever_comes_when(steps: list[int], gathers: bool) -> None:
    producer, offered = Producer(gathers=gathers), 0
    for step in steps:
        if step > 0:
            producer.offer(*names(step, start=offered))
            offered += step
        else:
            producer.deliver(min(-step, len(producer.flying)))
        waiting = offered - len(producer.handed)
        assert waiting == 0 or gathers or len(producer.flying) > 0
    producer.pacing.push()
    while producer.flying:
        producer.deliver()
    assert producer.handed == names(offered)
    assert producer.pacing.waiting_bytes == 0
