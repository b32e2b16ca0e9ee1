"""Reads the evidence: whole topics where a record matters, offsets where their number does."""

from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition

from deploy.demo.evidence import READ, Evidence
from deploy.demo.quiet import count, ends
from deploy.settings import Settings
from schemas.catalogue import EVENT_INPUTS, TOPIC_OF, TOPICS
from schemas.codec import Codec
from streams import Broken
from streams.kafka import CHECK_BROKERS, at_end, checked, make_consumer

AGENTS_OWN = ("agent.requests", "agent.outcomes")
EVENT_TOPICS = tuple(topic for topic in EVENT_INPUTS if topic not in (*AGENTS_OWN, "policy.activations"))
"""What platforms, detectors, the CRM and people sent."""
_BATCH, _POLL_S, _PATIENCE_POLLS = 5_000, 0.2, 150


def gather(settings: Settings, codec: Codec) -> tuple[Evidence, Mapping[str, int]]:
    """The evidence, and how many records each topic holds."""
    consumer = make_consumer(settings, "mandate-demo-count", **{"enable.partition.eof": True})
    try:
        evidence = Evidence()
        _read(consumer, codec, evidence)
        counted = {name: count(consumer, name) for name, topic in TOPICS.items() if topic.cleanup == "delete"}
        return evidence, counted
    finally:
        consumer.close()


def _read(consumer: Consumer, codec: Codec, evidence: Evidence) -> None:
    records = {TOPIC_OF[record]: record for record in READ}
    behind = {
        (topic, number): low for topic in records for number, (low, high) in ends(consumer, topic).items() if low < high
    }
    consumer.assign([TopicPartition(topic, number, low) for (topic, number), low in behind.items()])
    silent = 0
    while behind and silent < _PATIENCE_POLLS:
        messages = consumer.consume(_BATCH, _POLL_S)
        silent = 0 if messages else silent + 1
        for message in messages:
            topic = str(message.topic())
            if checked(message) is not None:
                evidence.add(codec.decode(records[topic], message.value()))
            elif at_end(message):
                behind.pop((topic, int(message.partition() or 0)), None)
    if behind:
        raise Broken(f"{min(behind)[0]} could not be read to its end.", CHECK_BROKERS)
