"""The stage on real topics: sends what the play emits, and holds time back until the control plane has caught up.

Records bear journal time as their Kafka timestamp. What was sent is watched for in the journal by entry id, and the
heartbeats of the revocation feed tell how far control has come; so the speed of the machine changes nothing.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import Message

from agents.tail import RevocationTail, Tail
from deploy.demo.emission import Emission
from deploy.demo.office import Tally
from deploy.demo.times import BEAT
from deploy.errors import OperatorError
from deploy.settings import Settings
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.headers import cloud_event
from schemas.records import CaseStatus, ClockReading, EscalationCase, JournalEntry, Record, Signal, TimeUs
from streams.kafka import headers_of, make_producer
from streams.sender import Sender

SOURCE = "/mandate/demo"
CLOCK, SIGNALS = TOPIC_OF[ClockReading], TOPIC_OF[Signal]
_LOOK_EVERY_S = 0.003
_WITHIN_S = 60.0
_SETTLE_S = 0.02


class PlayStalledError(OperatorError):
    """The control plane does not keep up with the play. The operator reads the log of the part that is named."""


class Wire:
    """The `Stage` of a demo. check: called while it waits; raises when a process has ended."""

    def __init__(self, settings: Settings, codec: Codec, tally: Tally, check: Callable[[], None]) -> None:
        self._codec = codec
        self._tally = tally
        self._check = check
        self._sender = Sender(make_producer(settings, **{"client.id": "demo-player"}))
        kafka = settings.client_config()
        self._journal = _Watched()
        self._cases: dict[str, str] = {}
        self._revocations = RevocationTail(kafka, codec)
        self._partitions = settings.partitions
        self._tick_us = round(settings.tick_interval_s * 1_000_000)
        self._tails = [
            Tail(kafka, (TOPIC_OF[JournalEntry],), start="end", take=self._take_entry, lost=self._lose),
            Tail(kafka, (TOPIC_OF[EscalationCase],), start="end", take=self._take_case, lost=self._lose),
        ]
        self._lost: Exception | None = None

    @contextmanager
    def open(self) -> Iterator["Wire"]:
        """Watches the journal, cases and revocations while the play is given."""
        begun: list[Tail | RevocationTail] = []
        try:
            tails: tuple[Tail | RevocationTail, ...] = (*self._tails, self._revocations)
            for tail in tails:
                tail.begin()
                begun.append(tail)
            yield self
            self._sender.flush()
        finally:
            for tail in begun:
                tail.stop()
            self._sender.producer.close()

    # --- the stage
    async def advance(self, emissions: Sequence[Emission], to: TimeUs, *, wholly: bool = False) -> None:
        """Sends, has the clock read `to`, and waits as `Stage` says."""
        # A detector has heard what it claims: its signals come after the words, whichever topic is read first.
        claims = [emission for emission in emissions if emission.topic == SIGNALS]
        heard = [emission for emission in emissions if emission.topic != SIGNALS]
        for part in (heard, claims):
            for emission in part:
                self._send(emission)
            self._tally.sent += len(part)
            await self._until(lambda: not self._journal.behind, "intake")
        self._tell_time(to)
        reached = to - (self._tick_us if wholly else BEAT)
        await self._until(lambda: self._heard_of(reached), "worker")
        if wholly:
            await asyncio.sleep(_SETTLE_S)  # the same moment reaches the agents' own readers

    async def in_journal(self, entry_id: str) -> None:
        """Waits for an entry that somebody else's record becomes."""
        self._journal.expect(entry_id)
        await self._until(lambda: self._journal.has(entry_id), "intake")

    async def case_of(self, lead_id: str) -> str:
        """Waits for the case."""
        await self._until(lambda: lead_id in self._cases, "worker")
        return self._cases[lead_id]

    # --- out
    def _send(self, emission: Emission) -> None:
        value = emission.value
        headers = []
        if isinstance(value, Record):
            headers = cloud_event(
                value, id=emission.ce_id or emission.key, source=SOURCE, subject=emission.lead_id, at=emission.at
            )
        for entry_id in emission.entries:
            self._journal.expect(entry_id)
        self._sender.send(
            emission.topic,
            value if isinstance(value, bytes) else self._codec.encode(value),
            key=emission.key,
            headers=headers,
            timestamp_ms=emission.at // 1000,
        )

    def _tell_time(self, at: TimeUs) -> None:
        self._sender.send(CLOCK, self._codec.encode(ClockReading(at=at)), key=None, timestamp_ms=at // 1000)

    # --- in
    def _take_entry(self, message: Message) -> None:
        found = next((value for name, value in headers_of(message) if name == "ce_id"), None)
        if isinstance(found, bytes):
            self._journal.seen(found.decode())

    def _take_case(self, message: Message) -> None:
        case = self._codec.decode(EscalationCase, message.value())
        if case.status is CaseStatus.OPEN:
            self._cases[case.lead_id] = case.case_id

    def _lose(self, error: Exception) -> None:
        self._lost = error

    def _heard_of(self, at: TimeUs) -> bool:
        beats = [self._revocations.feed.as_of(number) for number in range(self._partitions)]
        return all(beat is not None and beat >= at for beat in beats)

    async def _until(self, holds: Callable[[], bool], part: str) -> None:
        end = time.monotonic() + _WITHIN_S
        while not holds():
            self._sender.poll()
            self._check()
            if self._lost is not None:
                raise self._lost
            if time.monotonic() > end:
                why = f"The {part} has not kept up with the play for {_WITHIN_S:.0f} s."
                raise PlayStalledError(why, "Its log among the demo's logs says more.")
            await asyncio.sleep(_LOOK_EVERY_S)
        self._sender.poll()


class _Watched:
    """Journal entries that were announced and those that came, by id and how often. Safe to share between threads."""

    def __init__(self) -> None:
        self._missing: Counter[str] = Counter()
        self._came: set[str] = set()
        self._lock = threading.Lock()
        self.behind = 0
        """How many announced entries have not come yet."""

    def expect(self, entry_id: str) -> None:
        with self._lock:
            self._missing[entry_id] += 1
            self.behind += self._missing[entry_id] > 0

    def seen(self, entry_id: str) -> None:
        with self._lock:
            self.behind -= self._missing[entry_id] > 0
            self._missing[entry_id] -= 1
            self._came.add(entry_id)

    def has(self, entry_id: str) -> bool:
        return entry_id in self._came
