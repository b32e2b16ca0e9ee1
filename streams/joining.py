"""What a worker copies before it joins others: the rows of the partitions that it will be given.

A worker that joins is given its share at once, and nobody judges these partitions until it has their rows. So it reads
them first, while the others judge, and at the takeover only what came after. Which ones they will be is foretold by
Faust's own assignor, from what the group says of its members; nothing depends on its being right.
Tests: `tests/topology/test_joining.py`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription
from faust.assignor.client_assignment import CopartitionedAssignment
from faust.assignor.copartitioned_assignor import CopartitionedAssignor
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from schemas.catalogue import TOPIC_OF
from schemas.records import JournalEntry
from streams import Broken
from streams.changelog import CHANGELOG
from streams.kafka import CLIENT_DEFAULTS, is_of_moving_group, remedy_of
from streams.topology import CONTROL

if TYPE_CHECKING:
    from deploy.settings import Settings

JOURNAL = TOPIC_OF[JournalEntry]
_TOPICS = frozenset({JOURNAL, CHANGELOG})
_NEWCOMER = ""
_WITHIN_S = 15.0
_POLL_S = 0.1


class Member(NamedTuple):
    """One worker of the group: the partitions that it judges, and those that it keeps copies of."""

    instance: str
    owns: frozenset[int]
    copies: frozenset[int]


def members_of(settings: "Settings") -> list[Member]:
    """The workers that are there; while partitions are handed over they may seem to own none."""
    admin = AdminClient({**settings.client_config(), **CLIENT_DEFAULTS})
    group = str(CONTROL.group)

    def ask() -> ConsumerGroupDescription:
        return admin.describe_consumer_groups([group], request_timeout=_WITHIN_S)[group].result()

    again = retry_if_exception(_is_of_move)
    try:
        found = Retrying(retry=again, stop=stop_after_delay(_WITHIN_S), wait=wait_fixed(_POLL_S), reraise=True)(ask)
    except KafkaException as error:
        why = error.args[0]
        if why.code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise Broken(f"The group {group} can't be looked at ({why.name()}: {why.str()}).", remedy_of(why)) from error
    members = []
    for member in found.members:
        places = member.assignment.topic_partitions if member.assignment else []
        owns = frozenset(place.partition for place in places if place.topic == JOURNAL)
        kept = frozenset(place.partition for place in places if place.topic == CHANGELOG)
        members.append(Member(member.group_instance_id or "", owns, kept - owns))
    return members


def _is_of_move(error: BaseException) -> bool:
    # A new cluster makes its first group's coordinator when it is asked for it, and says for a moment that it is none.
    return isinstance(error, KafkaException) and is_of_moving_group(error.args[0])


def share_of(instance: str, members: Iterable[Member], partitions: int, replicas: int) -> set[int]:
    """Partitions that this worker will be given when it joins.

    None when nobody judges, for then copying first spares nobody a wait; nor when it is a member still, which takes up
    what it had and must be quick.
    """
    others = {str(number): member for number, member in enumerate(members)}
    if any(member.instance == instance for member in others.values()):
        return set()
    if not any(member.owns for member in others.values()):
        return set()
    group = {
        name: CopartitionedAssignment(set(member.owns), set(member.copies), set(_TOPICS))
        for name, member in others.items()
    }
    group[_NEWCOMER] = CopartitionedAssignment(topics=set(_TOPICS))
    return set(CopartitionedAssignor(_TOPICS, group, partitions, replicas).get_assignment()[_NEWCOMER].actives)
