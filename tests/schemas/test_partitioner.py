"""A key's partition is the one that Java clients choose: `partitioner/java_partitions.csv` is what they chose."""

import csv
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from agents.connection import Connection, producer_config
from agents.feed import partition_of
from deploy.settings import Settings
from streams.kafka import make_producer
from tests.tidy.tree import PACKAGES, calls, modules

COUNTS = (4, 12, 100)
Chosen = dict[int, dict[bytes, int]]


def java() -> Chosen:
    """Partition by number of partitions and key."""
    with (Path(__file__).parent / "partitioner" / "java_partitions.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {count: {bytes.fromhex(row["key_hex"]): int(row[f"of_{count}"]) for row in rows} for count in COUNTS}


@pytest.fixture(scope="module")
def topics(stack: Settings) -> Iterator[dict[int, str]]:
    """Empty topics by their number of partitions."""
    admin = AdminClient({**stack.client_config()})
    names = {count: f"by-key-{count}-{uuid.uuid4()}" for count in COUNTS}
    for future in admin.create_topics([NewTopic(name, count, 1) for count, name in names.items()]).values():
        future.result(30)
    yield names
    for future in admin.delete_topics(list(names.values())).values():
        future.result(30)


def placed(producer: Producer, topic: str, keys: list[bytes]) -> dict[bytes, int]:
    """Where a producer puts records with these keys."""
    found: dict[bytes, int] = {}

    def report(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        found[message.key() or b""] = message.partition() or 0

    for key in keys:
        producer.produce(topic, b"", key, on_delivery=report)
    assert producer.flush(30) == 0
    return found


def test_the_sample_holds_keys_of_every_sort_and_uses_every_partition() -> None:
    for count, chosen in java().items():
        assert len(chosen) > 990
        assert set(chosen.values()) == set(range(count))
    keys = list(java()[4])
    assert b"" in keys
    assert any(not key.isascii() and key.decode("utf-8", "ignore").encode() == key for key in keys)
    assert any(b"\xff" in key for key in keys)
    assert max(map(len, keys)) > 500


@pytest.mark.parametrize("count", COUNTS)
def test_the_partition_that_is_computed_here_is_the_one_that_java_chose(count: int) -> None:
    chosen = java()[count]
    assert {key: partition_of(key, count) for key in chosen} == chosen
    text = "lead-中文-😀"
    assert partition_of(text, count) == partition_of(text.encode(), count)


@pytest.mark.broker
@pytest.mark.parametrize("count", COUNTS)
def test_every_producer_of_the_tree_puts_a_key_where_java_put_it(
    stack: Settings, topics: dict[int, str], count: int
) -> None:
    chosen = java()[count]
    for producer in (make_producer(stack), Producer(producer_config(stack.client_config()))):
        assert placed(producer, topics[count], list(chosen)) == chosen


@pytest.mark.broker
def test_another_partitioner_is_told_apart(stack: Settings, topics: dict[int, str]) -> None:
    chosen = java()[4]
    other = placed(make_producer(stack, partitioner="consistent_random"), topics[4], list(chosen))
    assert 400 < sum(other[key] != chosen[key] for key in chosen) < 950


def test_an_agents_own_settings_of_kafka_do_not_change_where_its_requests_go() -> None:
    mine = producer_config({"bootstrap.servers": "b:9092", "partitioner": "random", "linger.ms": 3})
    assert (mine["partitioner"], mine["linger.ms"], mine["bootstrap.servers"]) == ("murmur2_random", 3, "b:9092")
    assert "producer_config" in Connection._connect.__code__.co_names


def test_producers_that_send_are_made_in_two_places_only() -> None:
    """Both are tried above; one made elsewhere would take librdkafka's own partitioner, which is another."""
    made = {
        f"{package}/{path.name}"
        for package in PACKAGES
        for path, tree in modules(package)
        for name, _ in calls(tree)
        if name.rsplit(".", 1)[-1] in ("Producer", "SerializingProducer", "AIOProducer", "AIOKafkaProducer")
    }
    # streams/access.py asks the cluster whether it answers, and sends nothing.
    assert made - {"streams/access.py"} == {"streams/kafka.py", "agents/connection.py"}
    (asks,) = [tree for path, tree in modules("streams") if path.name == "access.py"]
    assert not [name for name, _ in calls(asks) if name.endswith("produce")]
