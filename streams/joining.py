"""What a worker copies before it joins others: the rows of the partitions that it will be given.

A worker that joins is given its share at once, and nobody judges these partitions until it has their rows. So it reads
them first, while the others judge, and at the takeover only what came after. Which ones they will be is foretold by
Faust's own assignor, from what the group says of its members; nothing depends on its being right.
Tests: `tests/topology/test_joining.py`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from faust.assignor.client_assignment import CopartitionedAssignment
from faust.assignor.copartitioned_assignor import CopartitionedAssignor

from schemas.catalogue import TOPIC_OF
from schemas.records import JournalEntry
from streams import Broken
from streams.changelog import CHANGELOG
from streams.kafka import CLIENT_DEFAULTS, remedy_of
from streams.topology import CONTROL

if TYPE_CHECKING:
    from deploy.settings import Settings

JOURNAL = TOPIC_OF[JournalEntry]
_TOPICS = frozenset({JOURNAL, CHANGELOG})
_NEWCOMER = ""
_WITHIN_S = 15.0


class Member(NamedTuple):
    """One worker of the group: the partitions that it judges, and those that it keeps copies of."""

    instance: str
    owns: frozenset[int]
    copies: frozenset[int]


def members_of(settings: "Settings") -> list[Member]:
    """The workers that are there; while partitions are handed over they may seem to own none."""
    admin = AdminClient({**settings.client_config(), **CLIENT_DEFAULTS})
    group = str(CONTROL.group)
    try:
        found = admin.describe_consumer_groups([group], request_timeout=_WITHIN_S)[group].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise Broken(
            f"The group {group} can't be looked at ({error.args[0].str()}).", remedy_of(error.args[0])
        ) from error
    members = []
    for member in found.members:
        places = member.assignment.topic_partitions if member.assignment else []
        owns = frozenset(place.partition for place in places if place.topic == JOURNAL)
        kept = frozenset(place.partition for place in places if place.topic == CHANGELOG)
        members.append(Member(member.group_instance_id or "", owns, kept - owns))
    return members


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
