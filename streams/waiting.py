"""Records whose lead is not known yet, in the order they came, until the directory learns their call.

Order of one call is kept: those that wait go first, in the order they came, then the record that told the lead.
Order between calls is not. A record that names its lead itself never waits behind those that don't.
"""

from collections import deque
from typing import NamedTuple

from schemas.records import Record, TimeUs
from streams.kafka import Consumed
from streams.offsets import Place, Receipt

Call = tuple[str, str]
"""Provider and the provider's call id."""


class Arrival(NamedTuple):
    """A consumed record with its decoded value, and as it came in case it becomes a dead letter."""

    value: Record | None
    record: Consumed
    receipt: Receipt

    @property
    def place(self) -> Place:
        """The input partition that it came from."""
        return Place(self.record.topic, self.record.partition)


class Waiting(NamedTuple):
    """A record that waits for its call's lead, until `deadline`."""

    call: Call
    arrival: Arrival
    deadline: TimeUs


class WaitingRoom:
    """Waiting records by call, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._calls: dict[Call, deque[Waiting]] = {}
        self._arrivals: deque[Waiting] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, call: Call) -> bool:
        return call in self._calls

    def add(self, record: Waiting) -> Waiting | None:
        """Lets a record wait; when the room was full, returns the one that had waited longest and now must go."""
        ousted = self._pop_oldest() if self._count >= self._limit else None
        self._calls.setdefault(record.call, deque()).append(record)
        self._arrivals.append(record)
        self._count += 1
        return ousted

    def take(self, call: Call) -> list[Waiting]:
        """Every record that waits for a call, in the order they came; they wait no more."""
        taken = list(self._calls.pop(call, ()))
        self._count -= len(taken)
        return taken

    def take_expired(self, now: TimeUs) -> list[Waiting]:
        """Records past their deadline, oldest first; they wait no more."""
        expired = []
        while (oldest := self._oldest()) is not None and oldest.deadline <= now:
            expired.append(oldest)
            self._pop_oldest()
        return expired

    def forget(self, places: set[Place]) -> None:
        """Drops the records of places that another process reads from now on; it will read them itself."""
        for call in list(self._calls):
            kept = deque(record for record in self._calls[call] if record.arrival.place not in places)
            self._count -= len(self._calls[call]) - len(kept)
            if kept:
                self._calls[call] = kept
            else:
                del self._calls[call]

    def _oldest(self) -> Waiting | None:
        while self._arrivals:
            first = self._arrivals[0]
            queue = self._calls.get(first.call)
            if queue and queue[0] is first:
                return first
            self._arrivals.popleft()  # was taken, or forgotten, since it came
        return None

    def _pop_oldest(self) -> Waiting | None:
        oldest = self._oldest()
        if oldest is not None:
            self._arrivals.popleft()
            queue = self._calls[oldest.call]
            queue.popleft()
            self._count -= 1
            if not queue:
                del self._calls[oldest.call]
        return oldest
