"""When a person may be contacted: hours and days by the person's own clock, attempts and gaps.

Zones come from the `tzdata` package, never from the machine, so that a replay anywhere gives the same times.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from processors.lead import SECOND
from processors.policy import CallingWindow, Contact, Jurisdiction, Retry
from schemas.records import Attempt, TimeUs

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Every window opens at least once a week; each zone and rule may push the candidate time a few times a day.
_MAX_STEPS = 64


@cache
def zone(name: str) -> ZoneInfo | None:
    """An IANA zone from the locked tzdata; None when there is no such zone."""
    parts = name.split("/")
    if not all(part.replace("_", "").replace("-", "").replace("+", "").isalnum() for part in parts):
        return None
    path = files("tzdata").joinpath("zoneinfo", *parts)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def rules_of(contact: Contact, jurisdictions: Sequence[str]) -> list[Jurisdiction]:
    """Timing rules for a lead: those of its jurisdictions and always the default's; the strictest of each counts."""
    names = [contact.default_jurisdiction, *(name for name in jurisdictions if name != contact.default_jurisdiction)]
    return [contact.jurisdictions[name] for name in names if name in contact.jurisdictions]


def next_allowed(now: TimeUs, zones: Sequence[ZoneInfo], rules: Sequence[Jurisdiction]) -> TimeUs | None:
    """Earliest time from `now` at which every zone and every rule allows contact; None when there is none in reach.

    `now` itself when contact is allowed now.
    """
    candidate = now
    for _ in range(_MAX_STEPS):
        later = max((_opening(candidate, place, rule) for place in zones for rule in rules), default=candidate)
        if later == candidate:
            return candidate
        candidate = later
    return None


def _opening(at: TimeUs, place: ZoneInfo, rule: Jurisdiction) -> TimeUs:
    """Earliest time from `at` at which one rule allows contact in one zone."""
    local = (_EPOCH + timedelta(microseconds=at)).astimezone(place)
    for ahead in range(8):
        day = local.date() + timedelta(days=ahead)
        starts = []
        for window in _windows_on(rule, day.weekday()):
            start = _to_us(datetime.combine(day, time.fromisoformat(window.start), place))
            end = _to_us(datetime.combine(day, time.fromisoformat(window.end), place))
            if start <= at < end:
                return at
            if start > at:
                starts.append(start)
        if starts:
            return min(starts)
    return at + 8 * 86_400 * SECOND


def closes(now: TimeUs, zones: Sequence[ZoneInfo], rules: Sequence[Jurisdiction]) -> TimeUs | None:
    """Earliest end of the windows that allow contact now; None when no window is open."""
    ends = []
    for place in zones:
        day = (_EPOCH + timedelta(microseconds=now)).astimezone(place).date()
        for window in (window for rule in rules for window in _windows_on(rule, day.weekday())):
            start = _to_us(datetime.combine(day, time.fromisoformat(window.start), place))
            end = _to_us(datetime.combine(day, time.fromisoformat(window.end), place))
            ends += [end] if start <= now < end else []
    return min(ends, default=None)


def _windows_on(rule: Jurisdiction, weekday: int) -> list[CallingWindow]:
    return [window for window in rule.windows if _DAYS[weekday] in window.days]


def _to_us(moment: datetime) -> TimeUs:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def attempt_allowed_at(
    now: TimeUs, attempts: Sequence[Attempt], rules: Sequence[Jurisdiction], min_gap_s: int
) -> TimeUs:
    """Earliest time from `now` at which another attempt keeps within all caps and the minimum gap."""
    allowed = now
    if attempts:
        allowed = max(allowed, max(a.at for a in attempts) + min_gap_s * SECOND)
    for rule in rules:
        window = rule.attempts_window_s * SECOND
        recent = sorted(a.at for a in attempts if a.at > now - window)
        if len(recent) >= rule.max_attempts:
            allowed = max(allowed, recent[-rule.max_attempts] + window)
    return allowed


def retry_allowed_at(now: TimeUs, same: Sequence[Attempt], retry: Retry) -> TimeUs:
    """Earliest time from `now` at which attempts of one outcome leave room for another."""
    window = retry.window_s * SECOND
    recent = sorted(a.at for a in same if a.at > now - window)
    if not recent or len(recent) < retry.max:
        return now
    return recent[-max(retry.max, 1)] + window
