"""How far control is behind in each partition of the journal, as intake sees it: docs/decisions/overload.md.

Control's heartbeat comes out behind all that lay in the journal before its tick, stamped with the tick's time. So the
age of the newest record on a partition of the revocation feed is what an entry waits there now.
"""

import threading
from typing import TYPE_CHECKING

from confluent_kafka import TopicPartition

from schemas.catalogue import TOPIC_OF
from schemas.partitioner import partition_of
from schemas.records import LeadId, Revocation, TimeUs
from streams import end_process
from streams.clock import Clock
from streams.kafka import checked, make_consumer

if TYPE_CHECKING:
    from deploy.settings import Settings

TOPIC = TOPIC_OF[Revocation]
# A heartbeat is as old as the next one is away, and a little more: so much is no lag.
_USUAL_TICKS = 2
_WATERMARKS_S = 15.0
_POLL_S = 0.2


class Behind:
    """The newest heartbeat of each partition. It may be told from one thread and asked from others.

    usual_us: an age below it is how it always is, and counts as 0.
    """

    def __init__(self, clock: Clock, partitions: int, usual_us: int) -> None:
        self._clock = clock
        self._usual_us = usual_us
        self._at: list[TimeUs | None] = [None] * partitions
        self._closed = threading.Event()

    def told(self, partition: int, at: TimeUs) -> None:
        """Control has come to this time in a partition."""
        known = self._at[partition]
        self._at[partition] = at if known is None else max(at, known)

    def of_lead(self, lead_id: LeadId) -> int:
        """Microseconds by which control is behind where this lead's entries lie; 0 where it keeps up, or never ran."""
        return self.of_partition(partition_of(lead_id, len(self._at)))

    def of_partition(self, partition: int) -> int:
        """Microseconds by which control is behind in a partition."""
        at = self._at[partition]
        age = 0 if at is None else self._clock.now() - at
        return age if age > self._usual_us else 0

    def each(self) -> dict[int, int]:
        """What `of_partition` answers, for all of them."""
        return {number: self.of_partition(number) for number in range(len(self._at))}

    def close(self) -> None:
        """Ends the thread that follows the feed."""
        self._closed.set()

    @property
    def is_closed(self) -> bool:
        """Whether it is followed no more."""
        return self._closed.is_set()


def follow_control(settings: "Settings", clock: Clock, partitions: int) -> Behind:
    """The measure, followed from each partition's last heartbeat on in a daemon thread.

    Under a driven clock it stays 0: hours may pass between two heartbeats there, and nobody is late.
    """
    behind = Behind(clock, partitions, round(_USUAL_TICKS * settings.tick_interval_s * 1_000_000))
    if settings.clock == "system":
        threading.Thread(target=_follow, args=(settings, behind, partitions), name=TOPIC, daemon=True).start()
    return behind


def _follow(settings: "Settings", behind: Behind, partitions: int) -> None:
    consumer = make_consumer(settings, "mandate-follow")
    try:
        places = []
        for number in range(partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, number), timeout=_WATERMARKS_S)
            places.append(TopicPartition(TOPIC, number, max(low, high - 1)))
        consumer.assign(places)
        while not behind.is_closed:
            message = consumer.poll(_POLL_S)
            if message is not None and checked(message) is not None:
                # Whatever control sends bears the time of the entry that it comes from.
                behind.told(int(message.partition() or 0), message.timestamp()[1] * 1000)
    except Exception as error:
        end_process(error)
    finally:
        consumer.close()
