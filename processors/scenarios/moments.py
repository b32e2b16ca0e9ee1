"""Times and durations as scenarios write them.

A duration is a number of seconds or a mapping of seconds, minutes, hours, days. A moment is
`2026-11-18T12:00 America/New_York`, ISO 8601 with Z or an offset, or a duration, counted from a stated moment.
"""

from datetime import datetime
from typing import Any

from processors.timing import zone
from schemas.jsonio import parse_time
from schemas.records import TimeUs

SECOND = 1_000_000
_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400}


def duration(value: Any) -> int:
    """Microseconds; ValueError says what is expected."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * SECOND)
    if isinstance(value, dict) and value and set(value) <= set(_UNITS):
        return sum(duration(amount) * _UNITS[unit] for unit, amount in value.items())
    raise ValueError(f"{value!r} is no duration: give seconds, or a mapping of {', '.join(_UNITS)}")


def moment(value: Any, since: TimeUs | None = None) -> TimeUs:
    """Microseconds since 1970. since: what a duration counts from; None = a duration is not allowed."""
    if since is not None and not isinstance(value, str):
        return since + duration(value)
    text = str(value)
    try:
        local, _, name = text.partition(" ")
        if not name:
            return parse_time(text)
        place = zone(name)
        if place is None:
            raise ValueError(f"no zone {name!r}")
        return parse_time(datetime.fromisoformat(local).replace(tzinfo=place).isoformat())
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no moment: write 2026-11-18T12:00 America/New_York, or a time with Z or an offset ({error})"
        ) from error


def zone_name(text: str) -> str:
    """The zone that a moment was written in; UTC when it names none."""
    return text.partition(" ")[2] or "UTC"
