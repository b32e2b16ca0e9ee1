"""Times at their edges: the microsecond at which an hour, a window, a gap or a rule begins and ends."""

from datetime import date

from processors import timing
from processors.law import Law
from processors.policy.contact import CallingWindow, Jurisdiction, Retry
from schemas.jsonio import parse_time
from schemas.records import Attempt, Channel
from tests.core.story import SECOND, default_bundle

EVERY_DAY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NOON = parse_time("2026-11-18T12:00:00Z")
UTC = timing.zone("UTC")
assert UTC is not None


def rule(*hours: tuple[str, str], cap: int = 3) -> Jurisdiction:
    windows = tuple(CallingWindow(days=EVERY_DAY, start=start, end=end) for start, end in hours)
    return Jurisdiction(windows=windows, max_attempts=cap, attempts_window_s=3600, source="a test")


def attempts(*seconds_ago: float) -> list[Attempt]:
    return [
        Attempt(conversation_id=f"c{number}", channel=Channel.VOICE, outcome="no_answer", at=NOON - int(ago * SECOND))
        for number, ago in enumerate(seconds_ago)
    ]


def test_an_hour_begins_with_its_first_microsecond_and_is_over_with_its_last() -> None:
    day = rule(("09:00", "12:00"), ("13:00", "20:00"))
    nine, one = parse_time("2026-11-18T09:00:00Z"), parse_time("2026-11-18T13:00:00Z")
    assert timing.next_allowed(nine - 1, [UTC], [day]) == nine
    assert timing.next_allowed(nine, [UTC], [day]) == nine
    assert timing.next_allowed(NOON - 1, [UTC], [day]) == NOON - 1
    assert timing.next_allowed(NOON, [UTC], [day]) == one


def test_what_is_open_closes_with_the_first_of_all_that_close() -> None:
    early, late = rule(("08:00", "20:00")), rule(("08:00", "21:00"), ("22:00", "23:00"))
    assert timing.closes(NOON, [UTC], [late, early]) == parse_time("2026-11-18T20:00:00Z")
    assert timing.closes(parse_time("2026-11-18T21:30:00Z"), [UTC], [late]) is None


def test_the_gap_counts_from_the_last_attempt() -> None:
    made = attempts(600, 100)
    assert timing.attempt_allowed_at(NOON, made, [], 300) == NOON + 200 * SECOND
    assert timing.attempt_allowed_at(NOON, made, [], 100) == NOON


def test_the_cap_counts_what_is_in_the_window_and_the_strictest_rule_holds() -> None:
    three = attempts(3000, 2000, 1000)
    assert timing.attempt_allowed_at(NOON, three, [rule(cap=3), rule(cap=9)], 0) == NOON + 600 * SECOND
    assert timing.attempt_allowed_at(NOON, three, [rule(cap=9), rule(cap=1)], 0) == NOON + 2600 * SECOND
    assert timing.attempt_allowed_at(NOON, attempts(3600, 2000, 1000), [rule(cap=3)], 0) == NOON


def test_outcomes_leave_room_when_the_oldest_that_counts_is_out_of_the_window() -> None:
    assert timing.retry_allowed_at(NOON, attempts(90, 30), Retry(max=2, window_s=100, gap_s=0)) == NOON + 10 * SECOND
    assert timing.retry_allowed_at(NOON, attempts(90, 30), Retry(max=0, window_s=100, gap_s=0)) == NOON + 70 * SECOND
    assert timing.retry_allowed_at(NOON, attempts(100, 30), Retry(max=2, window_s=100, gap_s=0)) == NOON


def test_a_zone_is_a_name_of_the_almanac_and_no_path() -> None:
    assert timing.zone("America/New_York") is not None
    assert timing.zone("America/../America/New_York") is None
    assert timing.zone("Etc/GMT+5") is not None


def test_a_dated_rule_is_in_force_from_its_first_microsecond_to_its_last() -> None:
    bundle = default_bundle()
    dated = bundle.rules[0].model_copy(
        update={"id": "dated", "effective_from": date(2026, 11, 18), "effective_to": date(2026, 11, 18)}
    )
    law = Law(bundle.model_copy(update={"rules": (*bundle.rules, dated)}), "digest")
    begin, end = parse_time("2026-11-18T00:00:00Z"), parse_time("2026-11-19T00:00:00Z")
    assert [law.dated_in_force(at) for at in (begin - 1, begin, end - 1, end)] == [(), ("dated",), ("dated",), ()]


def test_each_intent_has_the_threshold_of_its_own_signal() -> None:
    law = Law(default_bundle(), "digest")
    assert law.intent_threshold("language_commitment").min_confidence == 0.9
    assert law.intent_threshold("scope").min_confidence == 0.8
