"""Reads single fields of payloads. Providers send numbers as text, times in three formats, and leave things out.

A field that is missing or of no use is None (or empty); only an id or a text that is too long is an error.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from processors.ids import derive
from processors.perception.payload import MAX_DETAIL, MAX_ID, MAX_TEXT, JsonObject, Payload, PayloadError
from schemas.records import TimeUs

_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.:-]{1,200}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST: TimeUs = 946_684_800_000_000
"""2000-01-01: a provider's clock before it is not a clock."""
LATEST: TimeUs = 7_258_118_400_000_000
"""2200-01-01."""


def repeat_key(payload: Payload) -> str:
    """What tells one payload from the next where the provider numbers nothing.

    The id given at reception; without one, the time of reception and the body.
    """
    return payload.raw_id or derive(str(payload.received_at), payload.body.decode("utf-8", "replace"))


def string(source: JsonObject, name: str) -> str:
    """A field as text; numbers and booleans as JSON writes them; empty when it is missing or not a scalar."""
    value = source.get(name)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) else ""


def ident(source: JsonObject, *names: str) -> str | None:
    """The first of these fields that is not empty, as an id; PayloadError when it is longer than an id may be."""
    for name in names:
        value = string(source, name).strip()
        if len(value) > MAX_ID:
            raise PayloadError(f"{name}: {len(value)} characters, an id has at most {MAX_ID}")
        if value:
            return value
    return None


def shown(value: str) -> str:
    """A name or an id as an error may repeat it; what has the form of neither may be a number, an address, words."""
    return value if _NAME.fullmatch(value) else "(not shown)"


def raw_name(value: str) -> str:
    """A provider's own name of an event, cut to what a record may hold."""
    return value.strip()[:MAX_ID]


def transcript(value: object, name: str) -> str:
    """A transcript; PayloadError when it is none, or too long: cutting it might drop the words that matter."""
    if not isinstance(value, str):
        raise PayloadError(f"{name}: expected the transcript as text")
    if len(value) > MAX_TEXT:
        raise PayloadError(f"{name}: {len(value)} characters, at most {MAX_TEXT} are taken")
    return value.strip()


def detail(*parts: tuple[str, str]) -> str | None:
    """Explanations as `name: value; …`, those that are empty left out; None when all are."""
    joined = "; ".join(f"{name}: {value}" for name, value in parts if value)
    return joined[:MAX_DETAIL] or None


def child(source: JsonObject, name: str) -> JsonObject:
    """A field that is an object; empty when it is not."""
    value = source.get(name)
    return value if isinstance(value, dict) else {}


def children(source: JsonObject, name: str) -> list[JsonObject]:
    """The objects of a field that is a list."""
    value = source.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def real(value: object) -> float | None:
    """A finite number, also when it was sent as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def whole(value: object) -> int | None:
    """An integer of at most 18 digits, also when it was sent as text."""
    number = real(value) if not isinstance(value, str) or len(value) < 19 else None
    if number is None or abs(number) >= 1e18 or not number.is_integer():
        return None
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else int(number)


def unit(value: object) -> float | None:
    """A confidence: a number from 0 to 1; anything else says nothing."""
    number = real(value)
    return number if number is not None and 0.0 <= number <= 1.0 else None


def flag(value: object) -> bool:
    """True, or the text `true` in any case."""
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def moment(value: object) -> TimeUs | None:
    """ISO 8601 with a zone, RFC 2822, or seconds since 1970; None when it is none of these, or not of our time."""
    at = _seconds(value) if isinstance(value, int | float) else _written(value) if isinstance(value, str) else None
    return at if at is not None and EARLIEST <= at < LATEST else None


def _seconds(value: float) -> TimeUs | None:
    number = real(value)
    return int(number * 1_000_000) if number is not None and abs(number) < 1e11 else None


def _written(value: str) -> TimeUs | None:
    if not 8 <= len(value) <= 64:
        return None
    try:
        when = datetime.fromisoformat(value) if value[:1].isdigit() else _rfc_2822(value)
        return None if when.tzinfo is None else (when - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _rfc_2822(value: str) -> datetime:
    when = parsedate_to_datetime(value)
    # "-0000" is UTC from a sender that does not tell its own zone (RFC 5322, 3.3).
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when
