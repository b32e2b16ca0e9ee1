"""Whose turn it is among the entries of a partition that wait to be judged. No I/O.

An entry depends on what lies before it of its own lead, and on the ticks and policies before it, which concern every
lead. Nothing else: so one that somebody waits for may be judged before those of other leads, and each gives the same
bytes as in the order of the journal.
"""

from collections import deque

from schemas.records import EntryKind, JournalEntry, LeadId
from streams.kafka import Consumed

CONCERN_ALL = frozenset((EntryKind.POLICY, EntryKind.TICK))
"""Judged after everything before them and before everything after them; a tick lead by lead."""
FLOW = frozenset((EntryKind.CALL, EntryKind.TRANSCRIPT))
"""What a live call gives by itself, many times a second. All others are a proposal, or something that was done, said or
decided once: somebody waits for what follows from it."""


class Item:
    """An entry, and the record that it came in."""

    __slots__ = ("entry", "is_taken", "record")

    def __init__(self, record: Consumed, entry: JournalEntry) -> None:
        self.record = record
        self.entry = entry
        self.is_taken = False


class _Part:
    """The entries between two that concern all leads. end: the one behind them, None as long as none has come."""

    def __init__(self) -> None:
        self.end: Item | None = None
        self._order: deque[Item] = deque()
        self._awaited: deque[Item] = deque()
        self._of_lead: dict[LeadId, deque[Item]] = {}

    def put(self, item: Item) -> None:
        self._order.append(item)
        if item.entry.kind not in FLOW:
            self._awaited.append(item)
        self._of_lead.setdefault(item.entry.lead_id, deque()).append(item)

    def is_awaited(self) -> bool:
        while self._awaited and self._awaited[0].is_taken:
            self._awaited.popleft()
        return bool(self._awaited)

    def next(self) -> Item | None:
        """The first of the lead whose entry is awaited longest; without such a one the first of all."""
        while self._order and self._order[0].is_taken:
            self._order.popleft()
        if not self._order:
            return None
        lead = (self._awaited if self.is_awaited() else self._order)[0].entry.lead_id
        of_lead = self._of_lead[lead]
        item = of_lead.popleft()
        if not of_lead:
            del self._of_lead[lead]
        item.is_taken = True
        return item


class Line:
    """The entries of one partition that are not judged yet.

    A tick is judged lead by lead, and stays in line until `end` is called. What is awaited behind it comes in between.
    """

    def __init__(self) -> None:
        self._parts = deque((_Part(),))
        self._tick: Item | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what `next` leads to."""
        return self._parts[0].is_awaited()

    def put(self, item: Item) -> None:
        """Adds the next entry of the journal."""
        self._count += 1
        if item.entry.kind in CONCERN_ALL:
            self._parts[-1].end = item
            self._parts.append(_Part())
        else:
            self._parts[-1].put(item)

    def next(self) -> Item:
        """Takes out the entry whose turn it is, a tick again and again; IndexError when there is none."""
        if not self._count:
            raise IndexError("nobody waits")
        if self._tick is not None and not self.is_awaited:
            return self._tick
        item = self._parts[0].next()
        if item is None:
            item = self._parts.popleft().end
        assert item is not None
        if item.entry.kind is EntryKind.TICK:
            self._tick = item
        else:
            self._count -= 1
        return item

    def end(self) -> None:
        """The tick that was taken out is judged."""
        assert self._tick is not None
        self._tick = None
        self._count -= 1
