"""When everything that was asked is answered, judged, written and committed."""

import time
from collections.abc import Callable

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.demo.wire import PlayStalledError
from deploy.settings import Settings
from schemas.catalogue import EVENT_INPUTS
from streams.kafka import make_consumer, partition_count
from streams.topology import CONTROL, INTAKE

_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.05
_BROKER_S = 10.0


def wait_until_quiet(settings: Settings, check: Callable[[], None]) -> None:
    """Returns when intake and control stand at the ends of what they read, and every CRM write has its answer."""
    consumer = make_consumer(settings, "mandate-demo-quiet")
    admin = AdminClient(settings.client_config())
    try:
        end = time.monotonic() + _WITHIN_S
        while waits := _waits_for(admin, consumer):
            check()
            if time.monotonic() > end:
                raise PlayStalledError(f"After {_WITHIN_S:.0f} s there is still work: {waits}.", "See var/demo/logs.")
            time.sleep(_LOOK_EVERY_S)
    finally:
        consumer.close()


def ends(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """First and next offset of each partition of a topic."""
    return {
        number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_BROKER_S)
        for number in range(partition_count(consumer, topic))
    }


def count(consumer: Consumer, topic: str) -> int:
    """Records of a topic that is not compacted."""
    return sum(high - low for low, high in ends(consumer, topic).values())


def _waits_for(admin: AdminClient, consumer: Consumer) -> str:
    for group, topics in ((str(INTAKE.group), EVENT_INPUTS), (str(CONTROL.group), ("execution.journal",))):
        lag = _lag(admin, consumer, group, topics)
        if lag:
            return f"{group} has {lag} records to go"
    owed = count(consumer, "crm.updates") - count(consumer, "crm.results")
    return f"{owed} CRM writes have no answer" if owed > 0 else ""


def _lag(admin: AdminClient, consumer: Consumer, group: str, topics: tuple[str, ...]) -> int:
    goals = {(topic, number): high for topic in topics for number, (_, high) in ends(consumer, topic).items() if high}
    places = [TopicPartition(topic, number) for topic, number in goals]
    if not places:
        return 0
    (future,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]).values()
    done = {(p.topic, p.partition): max(p.offset, 0) for p in future.result().topic_partitions}
    return sum(max(0, goal - done.get(place, 0)) for place, goal in goals.items())

