"""How many dead letters an input partition may give in a minute before the process that reads it ends.

A few bad records are a producer's slip; a thousand a minute are a deployment gone wrong, and going on would turn
good events that nobody can read today into letters that somebody must replay one by one.
"""

from collections import deque

from schemas.records import DeadLetterCode, TimeUs
from streams import BadInput
from streams.kafka import Consumed
from streams.offsets import Place

MINUTE_US = 60_000_000
_SHOWN = 300


class DeadLetterRate:
    """Counts the letters of each input partition over the last minute of the journal's clock. limit 0: never stops."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._at: dict[Place, deque[TimeUs]] = {}

    def note(self, record: Consumed, code: DeadLetterCode, error: str, at: TimeUs) -> None:
        """Notes a record that is to become a letter; raises BadInput when it is one too many. `at` never goes back.

        To be called before anything of the letter is sent: its record is then neither sent on nor committed.
        """
        if not self._limit:
            return
        place = Place(record.topic, record.partition)
        times = self._at.setdefault(place, deque(maxlen=self._limit))
        if len(times) == self._limit and at - times[0] < MINUTE_US:
            raise _too_many(record, code, error, self._limit + 1, at - times[0])
        times.append(at)

    def forget(self, places: set[Place]) -> None:
        """Drops the counts of places that another process reads from now on."""
        for place in places:
            self._at.pop(place, None)


def _too_many(record: Consumed, code: DeadLetterCode, error: str, count: int, within_us: int) -> BadInput:
    shown = "".join(c if c.isprintable() else " " for c in error)[:_SHOWN].rstrip(".")
    return BadInput(
        f"{record.topic}/{record.partition} gave {count:,} dead letters in {within_us / 1e6:.1f} s, more than the "
        f"{count - 1:,} a minute that MANDATE_DEAD_LETTER_LIMIT allows. The last: {code} at offset {record.offset}: "
        f"{shown}. It is not committed; nothing is lost.",
        f"See `mandate dead-letters list --topic {record.topic} --summary`, mend what writes there, start again; "
        "or set the limit higher (0: none) to have them all set aside.",
    )
