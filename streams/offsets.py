"""Which consumed records are dealt with, and therefore how far offsets may be committed."""

from collections import deque
from typing import NamedTuple


class Place(NamedTuple):
    """An input partition."""

    topic: str
    partition: int


class Receipt:
    """One consumed record until everything that follows from it is delivered.

    It starts with one hold; `hold` adds one for each record sent on its behalf or for a wait, `release` takes one
    away. At none it is dealt with, for good.
    """

    __slots__ = ("holds", "offset")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.holds = 1

    def hold(self) -> None:
        self.holds += 1

    def release(self) -> None:
        self.holds -= 1


class Offsets:
    """Low-water marks: an offset is committed once every record before it is dealt with, in whatever order that was.

    After a crash the records above the mark are read again: nothing is lost, and what is repeated bears the same ids.
    """

    def __init__(self) -> None:
        self._open: dict[Place, deque[Receipt]] = {}

    def received(self, place: Place, offset: int) -> Receipt:
        """Notes a consumed record; offsets of a place ascend."""
        receipt = Receipt(offset)
        receipts = self._open.get(place)
        if receipts is None:
            receipts = self._open[place] = deque()
        receipts.append(receipt)
        return receipt

    def take_committable(self) -> dict[Place, int]:
        """Next offset of each place whose mark moved since the last call."""
        moved: dict[Place, int] = {}
        for place, receipts in self._open.items():
            while receipts and receipts[0].holds == 0:
                moved[place] = receipts.popleft().offset + 1
        return moved

    def forget(self, places: set[Place]) -> None:
        """Drops places that another process reads from now on."""
        for place in places:
            self._open.pop(place, None)
