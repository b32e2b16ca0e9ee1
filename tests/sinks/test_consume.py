"""Where reading begins, on a real broker: never past a record that nobody read."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.settings import Settings
from sinks.consume import Place, Reader, Tail
from streams import Broken
from streams.kafka import Consumed, make_producer
from streams.sender import Sender

pytestmark = pytest.mark.broker


@pytest.fixture
def topic(stack: Settings) -> str:
    """A topic of one partition with the records 0 to 9, of which retention has removed the first four."""
    name = f"test.{uuid4().hex}"
    admin = AdminClient({**stack.client_config()})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    sender = Sender(make_producer(stack))
    for number in range(10):
        sender.send(name, str(number).encode(), key=None)
    sender.flush()
    removed = admin.delete_records([TopicPartition(name, 0, 4)])
    for future in removed.values():
        future.result(30)
    return name


def read(settings: Settings, topic: str, stored: dict[Place, int], *, skip_lost: bool = False) -> list[int]:
    reader = Reader(settings, "test", (topic,))
    try:
        reader.begin(stored, skip_lost=skip_lost)
        offsets: list[int] = []
        for _ in range(100):
            offsets += [record.offset for record in reader.read(100, 0.2)]
            if reader.caught_up:
                return offsets
        raise AssertionError("not caught up in 20 s")
    finally:
        reader.close()


def test_a_new_store_begins_at_the_first_record_there_is(stack: Settings, topic: str) -> None:
    assert read(stack, topic, {}) == [4, 5, 6, 7, 8, 9]


def test_a_store_goes_on_at_its_own_offset(stack: Settings, topic: str) -> None:
    assert read(stack, topic, {Place(topic, 0): 7}) == [7, 8, 9]
    assert read(stack, topic, {Place(topic, 0): 10}) == []


def test_records_that_retention_removed_unread_end_the_sink_unless_it_is_told_to_skip_them(
    stack: Settings, topic: str
) -> None:
    with pytest.raises(Broken, match="retention removed 2 records unread"):
        read(stack, topic, {Place(topic, 0): 2})
    assert read(stack, topic, {Place(topic, 0): 2}, skip_lost=True) == [4, 5, 6, 7, 8, 9]


def test_a_topic_that_was_made_anew_ends_the_sink(stack: Settings, topic: str) -> None:
    with pytest.raises(Broken, match="made anew"):
        read(stack, topic, {Place(topic, 0): 11})


def test_a_tail_knows_every_record_that_was_there_when_it_was_asked(stack: Settings, topic: str) -> None:
    seen: list[int] = []

    def take(record: Consumed) -> None:
        seen.append(record.offset)

    tail = Tail(stack, "test", {topic: take})
    sender = Sender(make_producer(stack))
    try:
        for last in range(10, 30):
            sender.send(topic, b"more", key=None)
            sender.flush()
            tail.catch_up()
            assert seen[-1] == last
    finally:
        tail.close()
    assert seen == list(range(4, 30))


def refused(code: int) -> dict[TopicPartition, Future[object]]:
    """What an admin client answers for a partition whose former leader it asked."""
    future: Future[object] = Future()
    future.set_exception(KafkaException(KafkaError(code)))
    return {TopicPartition("any", 0): future}


def test_a_leader_that_moves_is_looked_for_again_and_other_refusals_end_the_sink(
    stack: Settings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    tail = Tail(stack, "test", {topic: lambda record: seen.append(record.offset)})
    real, answers = tail._admin.list_offsets, [KafkaError.FENCED_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION]

    def list_offsets(*args: Any, **options: Any) -> Any:
        return refused(answers.pop()) if answers else real(*args, **options)

    monkeypatch.setattr(tail, "_admin", SimpleNamespace(list_offsets=list_offsets))
    try:
        tail.catch_up()
        assert seen == list(range(4, 10))
        assert answers == []
        answers.append(KafkaError.TOPIC_AUTHORIZATION_FAILED)
        with pytest.raises(Broken, match=f"the ends of {topic} can't be read"):
            tail.catch_up()
    finally:
        tail.close()
