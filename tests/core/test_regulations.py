"""The default bundle's law as data: every row is sourced and says who carries it out; the hours hold to the minute."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from processors.policy import Bundle, ObligationMet
from processors.timing import next_allowed, rules_of, zone
from schemas.jsonio import parse_time
from schemas.records import CallEndCause
from tests.core.story import default_bundle

ROWS = {
    "US-FED-HOURS", "US-FED-ABANDON", "US-FED-AIVOICE", "US-FED-CONSENT", "US-FED-REVOKE", "US-FED-REVOKEALL",
    "US-FED-DNC", "US-TSR-RECORDS", "US-FL", "US-OK", "US-WA", "US-TX", "US-MD", "US-REC", "EU-AI-50", "US-CA-BOT",
    "US-CA-ADAD", "US-UT", "EU-GDPR", "EU-SHRED",
}  # fmt: skip
IN_FORCE = {
    "US-FED-AIVOICE": date(2024, 2, 8),
    "US-FED-REVOKEALL": date(2027, 1, 31),
    "US-TSR-RECORDS": date(2024, 10, 15),
    "US-OK": date(2022, 11, 1),
    "US-TX": date(2025, 9, 1),
    "EU-AI-50": date(2026, 8, 2),
    "US-CA-ADAD": date(2025, 1, 1),
    "US-UT": date(2024, 5, 1),
}
# Of each jurisdiction: a zone in it, and first and last hour by weekday, Monday first.
HOURS = {
    "US": ("America/New_York", [(8, 21)] * 7),
    "US-FL": ("America/New_York", [(8, 20)] * 7),
    "US-OK": ("America/Chicago", [(8, 20)] * 7),
    "US-WA": ("America/Los_Angeles", [(8, 20)] * 7),
    "US-TX": ("America/Chicago", [(9, 21)] * 6 + [(12, 21)]),
}
MONDAY = date(2026, 11, 16)
SECOND = timedelta(seconds=1)


# --- every row
def test_the_bundle_knows_every_row_of_law_that_it_was_asked_to_know() -> None:
    assert set(default_bundle().regulations) == ROWS


def test_every_row_has_a_source_with_an_address_and_is_to_be_confirmed_with_counsel() -> None:
    assert list(unsourced(default_bundle())) == []


def test_every_place_that_is_said_to_enforce_a_row_exists() -> None:
    assert list(nowhere(default_bundle())) == []


def test_every_jurisdiction_rests_on_a_row_of_its_own_or_of_the_federal_law() -> None:
    assert list(groundless(default_bundle())) == []


def test_every_jurisdiction_is_named_by_the_row_that_it_rests_on() -> None:
    bundle = default_bundle()
    for name, jurisdiction in bundle.contact.jurisdictions.items():
        row = bundle.regulations[jurisdiction.source.split(":")[0]]
        assert f"contact.jurisdictions.{name}" in row.enforced_by


def test_rows_of_law_take_effect_on_the_days_that_their_sources_give() -> None:
    dated = {name: row.effective_from for name, row in default_bundle().regulations.items() if row.effective_from}
    assert dated == IN_FORCE


@pytest.mark.parametrize(
    ("change", "checker", "complaint"),
    [
        ({"regulations": {"US-FL": {"source": "Fla. Stat. 501.616"}}}, "unsourced", "US-FL: no address"),
        ({"regulations": {"US-FL": {"note": "fine"}}}, "unsourced", "US-FL: not to be confirmed with counsel"),
        ({"regulations": {"US-FL": {"enforced_by": ["contact.jurisdictions.US-GA"]}}}, "nowhere", "US-GA"),
        ({"regulations": {"US-FL": {"enforced_by": ["contact.concent"]}}}, "nowhere", "contact.concent"),
        ({"contact": {"jurisdictions": {"US-FL": {"source": "US-GA: some law"}}}}, "groundless", "US-FL: no reg"),
        ({"contact": {"jurisdictions": {"US-FL": {"note": ""}}}}, "groundless", "US-FL: not to be confirmed"),
    ],
)
def test_a_row_that_is_not_as_it_should_be_is_found(change: dict[str, object], checker: str, complaint: str) -> None:
    checkers = {"unsourced": unsourced, "nowhere": nowhere, "groundless": groundless}
    found = list(checkers[checker](changed(change)))
    assert len(found) == 1
    assert complaint in found[0]


def unsourced(bundle: Bundle) -> Iterator[str]:
    for name, row in bundle.regulations.items():
        if not re.search(r"https?://[\w.-]+\.\w+", row.source):
            yield f"{name}: no address in {row.source!r}"
        if not row.note.startswith("confirm with counsel"):
            yield f"{name}: not to be confirmed with counsel"


def nowhere(bundle: Bundle) -> Iterator[str]:
    rules = {rule.id for rule in bundle.rules}
    for name, row in bundle.regulations.items():
        yield from (f"{name}: {place}" for place in row.enforced_by if place not in rules and not leads(bundle, place))


def leads(bundle: Bundle, place: str) -> bool:
    """Does a dotted place name something in the bundle?"""
    found: object = bundle.model_dump(mode="json")
    for part in place.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    return bool(found)


def groundless(bundle: Bundle) -> Iterator[str]:
    for name, jurisdiction in bundle.contact.jurisdictions.items():
        row = bundle.regulations.get(jurisdiction.source.split(":")[0])
        if row is None or row.jurisdiction != name:
            yield f"{name}: no regulation of it begins {jurisdiction.source!r}"
        if not jurisdiction.note.startswith("confirm with counsel"):
            yield f"{name}: not to be confirmed with counsel"


def changed(change: Mapping[str, object]) -> Bundle:
    """The default bundle with some values replaced."""
    raw = default_bundle().model_dump(mode="json")

    def replace(whole: dict[str, object], part: Mapping[str, object]) -> None:
        for key, value in part.items():
            inner = whole[key]
            if isinstance(inner, dict) and isinstance(value, Mapping):
                replace(inner, value)
            else:
                whole[key] = value

    replace(raw, change)
    return Bundle.model_validate(raw)


# --- rows that something else in the bundle must agree with
def test_a_rule_that_gives_a_row_of_law_as_its_source_is_named_by_that_row() -> None:
    bundle = default_bundle()
    given = [(rule.id, rule.source) for rule in bundle.rules if re.fullmatch(r"(US|EU)(-[A-Z0-9]+)+", rule.source)]
    assert ("gov-recording", "US-REC") in given
    for rule_id, row in given:
        assert rule_id in bundle.regulations[row].enforced_by


def test_the_recording_is_announced_in_every_state_on_the_lists_of_all_party_and_mixed_consent() -> None:
    bundle = default_bundle()
    rule = next(rule for rule in bundle.rules if rule.id == "gov-recording")
    said = {key: set(value.split()) for key, value in bundle.regulations["US-REC"].parameters.items()}
    assert said["all_party"] | said["mixed"] == said["announced_in"]
    assert isinstance(rule.check, ObligationMet)
    assert said["announced_in"] <= set(rule.check.jurisdictions)


def test_the_words_that_revoke_consent_by_law_are_the_words_that_the_bundle_hears() -> None:
    bundle = default_bundle()
    by_law = bundle.regulations["US-FED-REVOKE"].parameters["words"].split(", ")
    assert set(by_law) <= set(bundle.phrases.opt_out_keywords)


@pytest.mark.parametrize("name", ["US-FL", "US-OK"])
def test_three_attempts_in_a_day_is_the_cap_where_law_sets_it(name: str) -> None:
    bundle = default_bundle()
    jurisdiction = bundle.contact.jurisdictions[name]
    assert bundle.regulations[name].parameters["attempts"].startswith("3 in 24 h")
    assert (jurisdiction.max_attempts, jurisdiction.attempts_window_s) == (3, 24 * 3600)


def test_retries_are_limited_for_outcomes_that_an_attempt_can_have() -> None:
    retries = default_bundle().contact.retries
    possible = {cause.lower() for cause in CallEndCause} | {"timeout", "dropped", "ended"}
    assert set(retries) <= possible
    assert possible - set(retries) == {"completed", "ended", "unknown"}


def test_what_the_buyer_declined_is_lifted_by_intents_that_signals_can_confirm() -> None:
    bundle = default_bundle()
    effects = {action.effect for action in bundle.actions.values()}
    intents = {f"intent.{intent}" for intent in bundle.signals.intents.values()}
    lifted = bundle.contact.declined_lifted_by
    assert set(lifted) <= effects
    assert {fact for facts in lifted.values() for fact in facts} <= intents
    assert not {"contact", "voicemail", "discount"} & set(lifted)


# --- hours, to the minute
@pytest.mark.parametrize("weekday", range(7))
@pytest.mark.parametrize("name", HOURS)
def test_contact_is_allowed_from_the_first_minute_to_the_last_and_not_beside_them(name: str, weekday: int) -> None:
    place, hours = HOURS[name]
    first, last = hours[weekday]
    day = MONDAY + timedelta(days=weekday)
    opens, closes = at(place, day, first), at(place, day, last)
    tomorrow = at(place, day + timedelta(days=1), hours[(weekday + 1) % 7][0])
    assert opening(opens, [place], [name]) == opens
    assert opening(closes - SECOND, [place], [name]) == closes - SECOND
    assert opening(opens - SECOND, [place], [name]) == opens
    assert opening(closes, [place], [name]) == tomorrow


def test_every_jurisdiction_of_the_bundle_has_its_hours_checked_here() -> None:
    assert set(default_bundle().contact.jurisdictions) == set(HOURS)


@dataclass(frozen=True, slots=True)
class Asked:
    """When it is asked, in UTC, of whom, and when contact is allowed."""

    why: str
    now: str
    allowed: str
    zones: tuple[str, ...] = ("America/New_York",)
    names: tuple[str, ...] = ("US",)


NEW_YORK_AND_LOS_ANGELES = ("America/New_York", "America/Los_Angeles")
CASES = [
    Asked("the evening before clocks go back still ends at 21:00 EDT", "2026-11-01T00:59:59Z", "2026-11-01T00:59:59Z"),
    Asked("the morning clocks go back opens at 08:00 EST, 12 hours on", "2026-11-01T01:00:00Z", "2026-11-01T13:00:00Z"),
    Asked("07:00 EST is 08:00 by yesterday's clock and is too early", "2026-11-01T12:00:00Z", "2026-11-01T13:00:00Z"),
    Asked("20:59 EST is 21:59 by yesterday's clock and is allowed", "2026-11-02T01:59:59Z", "2026-11-02T01:59:59Z"),
    Asked("21:00 EST ends the day", "2026-11-02T02:00:00Z", "2026-11-02T13:00:00Z"),
    Asked("the evening before clocks go forward ends at 21:00 EST", "2027-03-14T01:59:59Z", "2027-03-14T01:59:59Z"),
    Asked("the morning clocks go forward opens at 08:00 EDT, 10 on", "2027-03-14T02:00:00Z", "2027-03-14T12:00:00Z"),
    Asked("20:59 EDT is 19:59 by yesterday's clock and is allowed", "2027-03-15T00:59:59Z", "2027-03-15T00:59:59Z"),
    Asked("21:00 EDT is 20:00 by yesterday's clock and is too late", "2027-03-15T01:00:00Z", "2027-03-15T12:00:00Z"),
    Asked(
        "of two candidate zones the later one opens", "2026-11-18T13:00:00Z", "2026-11-18T16:00:00Z",
        NEW_YORK_AND_LOS_ANGELES,
    ),
    Asked(
        "both zones allow 20:59 in New York", "2026-11-19T01:59:59Z", "2026-11-19T01:59:59Z", NEW_YORK_AND_LOS_ANGELES
    ),
    Asked(
        "of two candidate zones the earlier one closes", "2026-11-19T02:00:00Z", "2026-11-19T16:00:00Z",
        NEW_YORK_AND_LOS_ANGELES,
    ),
    Asked(
        "in Florida's two zones 19:00 Central is 20:00 Eastern", "2026-11-19T01:00:00Z", "2026-11-19T14:00:00Z",
        ("America/New_York", "America/Chicago"), ("US-FL",),
    ),
    Asked(
        "a Sunday morning in Texas waits for noon", "2026-11-22T16:00:00Z", "2026-11-22T18:00:00Z",
        ("America/Chicago",), ("US-TX",),
    ),
    Asked(
        "Saturday night in Texas waits for Sunday noon", "2026-11-22T03:00:00Z", "2026-11-22T18:00:00Z",
        ("America/Chicago",), ("US-TX",),
    ),
    Asked(
        "a Sunday on which clocks go back opens at noon CST", "2026-11-01T17:00:00Z", "2026-11-01T18:00:00Z",
        ("America/Chicago",), ("US-TX",),
    ),
    Asked(
        "El Paso with Central as a candidate opens when both do", "2026-11-18T15:30:00Z", "2026-11-18T16:00:00Z",
        ("America/Denver", "America/Chicago"), ("US-TX",),
    ),
    Asked(
        "Florida and Texas together open with Texas", "2026-11-18T14:00:00Z", "2026-11-18T15:00:00Z",
        ("America/Chicago",), ("US-FL", "US-TX"),
    ),
    Asked(
        "Florida and Texas together close with Florida", "2026-11-19T02:00:00Z", "2026-11-19T15:00:00Z",
        ("America/Chicago",), ("US-FL", "US-TX"),
    ),
    Asked(
        "Maryland, whose figures are not confirmed, has the federal hours", "2026-11-19T01:30:00Z",
        "2026-11-19T01:30:00Z", names=("US-MD",),
    ),
    Asked("and not later than those", "2026-11-19T02:00:00Z", "2026-11-19T13:00:00Z", names=("US-MD",)),
]  # fmt: skip


@pytest.mark.parametrize("asked", CASES, ids=[case.why for case in CASES])
def test_contact_is_allowed_when_every_zone_and_every_jurisdiction_allows_it(asked: Asked) -> None:
    now, allowed = (datetime.fromisoformat(text) for text in (asked.now, asked.allowed))
    assert opening(now, asked.zones, asked.names) == allowed


def at(place: str, day: date, hour: int) -> datetime:
    """An hour by the clock of a place."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(place))


def opening(now: datetime, places: tuple[str, ...] | list[str], names: tuple[str, ...] | list[str]) -> datetime | None:
    """When a lead of these places and jurisdictions may be contacted, asked at `now`."""
    zones = [found for found in map(zone, places) if found is not None]
    assert len(zones) == len(places)
    opens = next_allowed(parse_time(now.isoformat()), zones, rules_of(default_bundle().contact, names))
    return None if opens is None else datetime.fromtimestamp(opens / 1_000_000, now.tzinfo)
