"""Reading the input topics as two members of one group: what somebody waits for at once, the flow of calls gathered.

What a live call gives by itself comes many times a second, and for each record that comes alone a fetch is answered, a
thread woken and an entry sent for itself. Gathered for a few milliseconds they share all that, and a request finds the
processors free. Figures and what it means for the order of things: `docs/decisions/gathering.md`.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.catalogue import EVENT_INPUTS, TOPIC_OF
from schemas.records import CallEvent, ProviderWebhook, TranscriptSegment
from streams.kafka import lag_of, make_consumer
from streams.offsets import Place

if TYPE_CHECKING:
    from deploy.settings import Settings

FLOW = tuple(TOPIC_OF[kind] for kind in (ProviderWebhook, CallEvent, TranscriptSegment))
"""Topics that are read gathered."""
AWAITED = tuple(topic for topic in EVENT_INPUTS if topic not in FLOW)
"""Topics that are read at once."""
GATHER_BYTES, GATHER_MS = 1_500, 20
"""How much the broker gathers of the flow for a fetch, some five events of a call, and how long at most."""
LOOK_MS = 5
"""How often what was gathered is looked for; a record of the flow waits for both at most."""
_BATCH = 1_000


class Heard(NamedTuple):
    """Who hears of a change of the share; each is called inside `take` or `close`."""

    assigned: Callable[[set[Place]], None]
    revoked: Callable[[set[Place]], None]
    """The last moment to commit for these."""
    lost: Callable[[set[Place]], None]


class Inputs:
    """The input partitions that are this process's share.

    committed: hears how an asynchronous commit ended, inside `take`.
    """

    def __init__(
        self,
        settings: "Settings",
        group: str,
        heard: Heard,
        committed: Callable[[KafkaError | None, list[TopicPartition]], None],
    ) -> None:
        config: dict[str, Any] = {"enable.partition.eof": True, "on_commit": committed}
        self._heard = heard
        self._awaited: Consumer = make_consumer(settings, group, **config)
        self._flow: Consumer = make_consumer(
            settings, group, **config, **{"fetch.min.bytes": GATHER_BYTES, "fetch.wait.max.ms": GATHER_MS}
        )
        self._members = {self._awaited: AWAITED, self._flow: FLOW}
        self._without_share = set(self._members)

    @property
    def is_ready(self) -> bool:
        """Whether the group has given both members their share, which may be nothing."""
        return not self._without_share

    def subscribe(self) -> None:
        """Joins the group."""
        for consumer, topics in self._members.items():
            consumer.subscribe(
                list(topics),
                on_assign=self._assign,
                on_revoke=partial(_tell, self._heard.revoked),
                on_lost=partial(_tell, self._heard.lost),
            )

    def take(self, look_ms: int = LOOK_MS) -> list[Message]:
        """What is there, marks of ends and errors among it; waits for look_ms when nothing is awaited.

        What is awaited comes first: a request would stand behind a handful of events for a millisecond.
        """
        # consume(n, timeout) waits until it has n; one poll returns with the first, and the rest is at hand.
        first = self._awaited.poll(look_ms / 1000)
        awaited = [] if first is None else [first, *self._awaited.consume(_BATCH - 1, 0)]
        return [*awaited, *self._flow.consume(_BATCH, 0)]

    def commit(self, marks: Mapping[Place, int], *, wait: bool) -> list[tuple[KafkaError, list[TopicPartition]]]:
        """Commits next offsets of places; answers with what could not even be asked for or, with `wait`, failed."""
        failed = []
        for consumer, topics in self._members.items():
            own = [TopicPartition(*place, mark) for place, mark in marks.items() if place.topic in topics]
            try:
                if own and wait:
                    consumer.commit(offsets=own, asynchronous=False)
                elif own:
                    consumer.commit(offsets=own, asynchronous=True)
            except KafkaException as error:
                failed.append((error.args[0], own))
        return failed

    def lag(self, places: Collection[Place]) -> dict[str, int]:
        """Records of each topic that were not consumed, as the last fetches told."""
        lag = dict.fromkeys(EVENT_INPUTS, 0)
        for consumer, topics in self._members.items():
            lag |= lag_of(consumer, [place for place in places if place.topic in topics])
        return lag

    def close(self) -> None:
        """Leaves the group; both members do when one fails at it."""
        with ExitStack() as closing:
            for consumer in self._members:
                closing.callback(consumer.close)

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._without_share.discard(consumer)
        self._heard.assigned(_places(partitions))


def _tell(heard: Callable[[set[Place]], None], _consumer: Consumer, partitions: list[TopicPartition]) -> None:
    heard(_places(partitions))


def _places(partitions: list[TopicPartition]) -> set[Place]:
    return {Place(place.topic, place.partition) for place in partitions}
