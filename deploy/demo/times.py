"""When the corpus happens: a business day in journal time, fixed, so that every run tells the same story.

It lies in the past: brokers refuse records from the future.
"""

from datetime import UTC, datetime, timedelta

from schemas.records import TimeUs

SECOND: TimeUs = 1_000_000
BEAT: TimeUs = 5 * SECOND
"""Scripts go on at whole beats, so that many leads act at the same moment and time moves in few steps."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(moment: datetime) -> TimeUs:
    """Microseconds since 1970 of an aware time."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(at: TimeUs) -> datetime:
    """The aware time of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=at)


OPENING = us(datetime(2025, 11, 19, 14, 25, tzinfo=UTC))
"""The CRM tells of the leads from here on: a Wednesday, 09:25 in New York."""
WAVES = tuple(us(datetime(2025, 11, 19, hour, minute, tzinfo=UTC)) for hour, minute in ((14, 30), (15, 30), (16, 30)))
"""Campaign waves. Nobody calls for an hour between them, and time leaps over that."""
WAVE_BEATS = 12
"""Calls of one wave begin within so many beats."""


def beat_at_or_after(at: TimeUs) -> TimeUs:
    """The first beat that is not before a time."""
    return -(-at // BEAT) * BEAT
