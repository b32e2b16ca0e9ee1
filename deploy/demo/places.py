"""Where topics begin and end, asked for many at once."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from deploy.settings import Settings
from schemas.catalogue import TOPICS
from streams import Broken
from streams.kafka import CHECK_BROKERS

_BROKER_S = 15.0


class Place(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class Span(NamedTuple):
    """Offset of the first record, and of the next to come."""

    low: int
    high: int


class Places:
    """The cluster's answers about offsets."""

    def __init__(self, settings: Settings) -> None:
        self.admin = AdminClient({**settings.client_config(), "log_level": 0})
        self._partitions = settings.partitions

    def spans(self, topics: Iterable[str]) -> Mapping[Place, Span]:
        """Begin and end of every partition; Broken when the cluster does not say."""
        places = [Place(topic, number) for topic in topics for number in range(self._count(topic))]
        low, high = self._offsets(places, OffsetSpec.earliest()), self._offsets(places, OffsetSpec.latest())
        return {place: Span(low[place], high[place]) for place in places}

    def held(self, topics: Iterable[str]) -> dict[str, int]:
        """How many records each topic holds; of a compacted one, at most so many."""
        counts = dict.fromkeys(topics, 0)
        for place, span in self.spans(counts).items():
            counts[place.topic] += span.high - span.low
        return counts

    def _count(self, topic: str) -> int:
        partitions = TOPICS[topic].partitions
        return self._partitions if partitions == "P" else partitions

    def _offsets(self, places: list[Place], spec: OffsetSpec) -> dict[Place, int]:
        asked = {TopicPartition(*place): spec for place in places}
        try:
            answers = self.admin.list_offsets(asked, request_timeout=_BROKER_S)
            return {Place(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}
        except KafkaException as error:
            raise Broken(f"The cluster does not tell its offsets ({error.args[0].str()}).", CHECK_BROKERS) from error
