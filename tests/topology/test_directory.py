"""The directory of calls knows a call for as long as its events may come, and no longer."""

from schemas.catalogue import TOPICS
from schemas.records import CallDirectoryEntry, ConversationId, LeadId, TimeUs
from streams.directory import KEPT_US, TOPIC, CallDirectory

NOW: TimeUs = 1_795_000_000_000_000


def entry(call: str, seen_at: TimeUs, lead: str = "lead-1") -> CallDirectoryEntry:
    return CallDirectoryEntry(
        provider="twilio", call_id=call, lead_id=LeadId(lead), conversation_id=ConversationId("c"), seen_at=seen_at
    )


def test_a_call_is_forgotten_when_its_time_is_over_and_not_before() -> None:
    calls = CallDirectory()
    calls.learn(entry("old", NOW - KEPT_US - 1))
    calls.learn(entry("young", NOW - KEPT_US))
    calls.forget(NOW)
    assert set(calls) == {("twilio", "young")}
    calls.forget(NOW + 1)
    assert len(calls) == 0


def test_a_call_that_was_learned_anew_is_kept_from_then_on() -> None:
    calls = CallDirectory()
    calls.learn(entry("call", NOW - KEPT_US - 1))
    calls.learn(entry("call", NOW, lead="lead-2"))
    calls.forget(NOW)
    assert calls["twilio", "call"].lead_id == "lead-2"
    calls.forget(NOW + KEPT_US + 1)
    assert len(calls) == 0


def test_an_old_call_that_was_learned_after_a_young_one_goes_with_it_at_the_latest() -> None:
    calls = CallDirectory()
    calls.learn(entry("young", NOW))
    calls.learn(entry("old", NOW - KEPT_US - 1))
    calls.forget(NOW)
    assert len(calls) == 2
    calls.forget(NOW + KEPT_US + 1)
    assert len(calls) == 0


def test_a_clock_that_stands_at_nothing_forgets_nothing() -> None:
    calls = CallDirectory()
    calls.learn(entry("call", NOW))
    calls.forget(0)
    assert len(calls) == 1


def test_calls_are_known_while_webhooks_that_name_them_are_kept_and_their_topic_knows_them_longer() -> None:
    kept_ms = KEPT_US // 1_000
    assert TOPICS["perception.raw"].retention_ms <= kept_ms < TOPICS[TOPIC].retention_ms
    assert TOPICS[TOPIC].config["cleanup.policy"] == "compact,delete"
    assert "retention.ms" in TOPICS[TOPIC].config
