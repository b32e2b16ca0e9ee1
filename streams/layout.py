"""What the cluster holds for control: how many partitions, and which changelog."""

from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from schemas.catalogue import TOPIC_OF
from schemas.records import JournalEntry
from streams import Broken
from streams.changelog import CHANGELOG
from streams.kafka import CHECK_BROKERS, CLIENT_DEFAULTS

if TYPE_CHECKING:
    from deploy.settings import Settings

_JOURNAL = TOPIC_OF[JournalEntry]
_METADATA_S = 15.0


class Layout(NamedTuple):
    """changelog_id: the id that the topic was given when it was created."""

    partitions: int
    changelog_id: str


def layout_of(settings: "Settings") -> Layout:
    """Asks the cluster; Broken when it does not tell, or when journal and changelog don't go together."""
    admin = AdminClient({**settings.client_config(), **CLIENT_DEFAULTS})
    names = TopicCollection([_JOURNAL, CHANGELOG])
    try:
        futures = admin.describe_topics(names, request_timeout=_METADATA_S)
        journal, changelog = (futures[name].result() for name in (_JOURNAL, CHANGELOG))
    except KafkaException as error:
        raise Broken(
            f"{_JOURNAL} and {CHANGELOG} can't be looked up ({error.args[0].str()}).",
            f"Run `mandate up` or `mandate topics --create`. {CHECK_BROKERS}",
        ) from error
    if len(journal.partitions) != len(changelog.partitions):
        raise Broken(
            f"{_JOURNAL} has {len(journal.partitions)} partitions, {CHANGELOG} has {len(changelog.partitions)}.",
            "They must be equal: a lead's state lies on the partition of its entries.",
        )
    return Layout(len(journal.partitions), str(changelog.topic_id).replace("/", "_"))
