"""Reads the evidence: whole topics where a record matters, offsets where their number does."""

from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition

from deploy.demo.evidence import READ, Evidence
from deploy.demo.places import Place, Places, Span
from deploy.settings import Settings
from schemas.catalogue import EVENT_INPUTS, TOPIC_OF, TOPICS
from schemas.codec import Codec
from streams import Broken
from streams.kafka import CHECK_BROKERS, at_end, checked, make_consumer

AGENTS_OWN = ("agent.requests", "agent.outcomes")
EVENT_TOPICS = tuple(topic for topic in EVENT_INPUTS if topic not in (*AGENTS_OWN, "policy.activations"))
"""What platforms, detectors, the CRM and people sent."""
_BATCH, _POLL_S, _PATIENCE_POLLS = 5_000, 0.2, 150


def gather(settings: Settings, codec: Codec, places: Places) -> tuple[Evidence, Mapping[str, int]]:
    """The evidence, and how many records each topic holds; compacted topics are left out of the latter."""
    records = {TOPIC_OF[record]: record for record in READ}
    spans = {place: span for place, span in places.spans(records).items() if span.low < span.high}
    consumer = make_consumer(settings, "mandate-demo-count", **{"enable.partition.eof": True})
    try:
        evidence = _read(consumer, codec, spans)
    finally:
        consumer.close()
    return evidence, places.held(name for name, topic in TOPICS.items() if topic.cleanup == "delete")


def _read(consumer: Consumer, codec: Codec, spans: Mapping[Place, Span]) -> Evidence:
    records = {TOPIC_OF[record]: record for record in READ}
    evidence, behind, silent = Evidence(), set(spans), 0
    consumer.assign([TopicPartition(*place, span.low) for place, span in spans.items()])
    while behind and silent < _PATIENCE_POLLS:
        messages = consumer.consume(_BATCH, _POLL_S)
        silent = 0 if messages else silent + 1
        for message in messages:
            place = Place(str(message.topic()), int(message.partition() or 0))
            if checked(message) is not None:
                evidence.add(codec.decode(records[place.topic], message.value()))
            elif at_end(message):
                behind.discard(place)
    if behind:
        raise Broken(f"{min(behind).topic} could not be read to its end.", CHECK_BROKERS)
    return evidence
