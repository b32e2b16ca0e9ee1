"""Ticks: journal entries that say that time passes. Timers fire on them, in every replay at the same place.

A worker appends them to the partitions it owns, through the same producer as everything else, also when nothing else
happens. They decide nothing here.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.headers import cloud_event
from schemas.records import EntryKind, JournalEntry, LeadId, Tick, TimeUs
from streams import end_process
from streams.clock import Clock
from streams.metrics import control as metrics
from streams.transport.outbox import Outbox

if TYPE_CHECKING:
    from deploy.settings import Settings

JOURNAL = TOPIC_OF[JournalEntry]
SOURCE = "/mandate/control/ticks"
_LOOK_EVERY_S = 0.025


def tick_entry(partition: int, at: TimeUs) -> JournalEntry:
    """The tick of a partition at a time; made again it is the same."""
    tick_id = f"tick:{partition}:{at}"
    return JournalEntry(
        entry_id=tick_id,
        lead_id=LeadId(""),
        kind=EntryKind.TICK,
        at=at,
        source_topic="",
        source_partition=-1,
        source_offset=-1,
        body=Tick(tick_id=tick_id, at=at),
    )


class Ticks:
    """Appends a tick to each owned partition once an interval of the clock, each partition at a time of its own.

    Grants end on whole seconds, and all partitions' at once would hold up everything that comes then. A driven clock
    may move by hours between two looks: then there is one tick, not one for each interval.
    """

    def __init__(
        self, settings: "Settings", clock: Clock, codec: Codec, outbox: Outbox, partitions: Callable[[], list[int]]
    ) -> None:
        self._interval_us = round(settings.tick_interval_s * 1_000_000)
        self._look_every_s = min(_LOOK_EVERY_S, settings.tick_interval_s / 4)
        self._clock = clock
        self._codec = codec
        self._outbox = outbox
        self._partitions = partitions
        self._ticked: dict[int, int] = {}

    async def run(self) -> None:
        """Works until cancelled. Any error ends the process."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(self._look_every_s)
        except Exception as error:
            end_process(error)

    async def _look(self) -> None:
        now = self._clock.now()
        partitions = self._due(now)
        if not partitions:
            return
        group = self._outbox.open()
        for number in partitions:
            entry = tick_entry(number, now)
            self._outbox.send(
                group,
                JOURNAL,
                self._codec.encode(entry),
                key=None,
                partition=number,
                timestamp_ms=now // 1000,
                headers=cloud_event(entry, id=entry.entry_id, source=SOURCE, subject="", at=now),
            )
        # The next look waits for this: a broker that is slow gets fewer ticks, not a heap of them.
        await group.wait()
        metrics.TICKS.inc(len(partitions))

    def _due(self, now: TimeUs) -> list[int]:
        """Owned partitions for which an interval has begun since their last tick."""
        owned = self._partitions()
        due = []
        for place, number in enumerate(owned):
            interval = (now + place * self._interval_us // len(owned)) // self._interval_us
            # A system clock that was set back goes on from there.
            if interval > self._ticked.get(number, 0):
                due.append(number)
            self._ticked[number] = interval
        return due
