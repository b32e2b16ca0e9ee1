"""When everything that was asked is answered, judged, written and committed."""

import time
from collections.abc import Callable, Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from deploy.demo.places import Place, Places
from deploy.demo.wire import PlayStalledError
from schemas.catalogue import EVENT_INPUTS
from streams.topology import CONTROL, INTAKE

_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.05
_JOURNAL = "execution.journal"


def wait_until_quiet(places: Places, check: Callable[[], None]) -> None:
    """Returns when intake and control stand at the ends of what they read, and every CRM write has its answer."""
    _wait(lambda: _work_left(places), check)


def wait_for_policy(places: Places, check: Callable[[], None]) -> None:
    """Returns when every partition of the journal holds an entry: the activation comes first."""
    _wait(lambda: "" if all(s.high for s in places.spans([_JOURNAL]).values()) else "no policy is in force yet", check)


def _wait(waits_for: Callable[[], str], check: Callable[[], None]) -> None:
    end = time.monotonic() + _WITHIN_S
    while left := waits_for():
        check()
        if time.monotonic() > end:
            raise PlayStalledError(f"After {_WITHIN_S:.0f} s there is still work: {left}.", "See the demo's logs.")
        time.sleep(_LOOK_EVERY_S)


def _work_left(places: Places) -> str:
    for group, topics in ((str(INTAKE.group), EVENT_INPUTS), (str(CONTROL.group), (_JOURNAL,))):
        if lag := _lag(places, group, topics):
            return f"{group} has {lag} records to go"
    held = places.held(("crm.updates", "crm.results"))
    owed = held["crm.updates"] - held["crm.results"]
    return f"{owed} CRM writes have no answer" if owed > 0 else ""


def _lag(places: Places, group: str, topics: Sequence[str]) -> int:
    goals = {place: span.high for place, span in places.spans(topics).items() if span.high}
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in goals])
    (answer,) = places.admin.list_consumer_group_offsets([asked]).values()
    done = {Place(at.topic, at.partition): max(at.offset, 0) for at in answer.result().topic_partitions}
    return sum(max(0, goal - done.get(place, 0)) for place, goal in goals.items())
