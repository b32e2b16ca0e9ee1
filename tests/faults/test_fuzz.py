"""Hostile input never ends intake, permits nothing, and always gets an answer. `make fuzz` is the long form."""

import pytest

from schemas.codec import Codec
from schemas.records import AgentId, AgentRequest, CallEvent, CallEventType, Channel, LeadId, Record, RequestId
from streams.admission import Admission
from tests.core.story import Story
from tests.faults.fuzz import __main__ as command
from tests.faults.fuzz import trial
from tests.faults.fuzz.records import DAMAGES, Hostile, hostile_record
from tests.faults.fuzz.trial import FOREIGN_IDS, IDS, START, BrokenError, Trial, make_codec
from tests.faults.fuzz.webhooks import hostile_webhook

RECORDS, WEBHOOKS = 5_000, 1_000
CODEC = make_codec()


def sound(value: Record, topic: str) -> Hostile:
    return Hostile("sound", topic, b"key", CODEC.encode(value), [])


def ringing() -> Hostile:
    event = CallEvent(
        event_id="e1", lead_id=LeadId("lead-9"), provider="twilio", call_id="CA9", type=CallEventType.CALL_RINGING,
        received_at=START,
    )  # fmt: skip
    return sound(event, "telephony.events")


def test_hostile_records_and_webhooks_are_dead_letters_or_accepted_and_permit_nothing():
    tally = Trial().run(RECORDS, WEBHOOKS, seed=1)
    assert tally.taken == RECORDS + WEBHOOKS
    answered = sum(tally.outcomes[outcome] for outcome in ("dead letter", "accepted", "said nothing"))
    assert answered == tally.taken
    assert tally.outcomes["dead letter"] > tally.taken // 2
    assert tally.outcomes["accepted"] > tally.taken // 20
    assert {how for how, _ in tally.damages} >= set(DAMAGES)
    assert {"NOT_AVRO", "BAD_VALUE", "BAD_PAYLOAD", "UNKNOWN_SCHEMA", "WRONG_SCHEMA", "UNKNOWN_PROVIDER"} <= set(
        tally.codes
    )
    assert tally.verdicts["BLOCK"] > 20


def test_the_same_seed_makes_the_same_input():
    for number in (0, 7, 123):
        assert hostile_record(5, number, IDS, FOREIGN_IDS) == hostile_record(5, number, IDS, FOREIGN_IDS)
        assert hostile_webhook(5, number) == hostile_webhook(5, number)
    assert hostile_record(5, 0, IDS, FOREIGN_IDS) != hostile_record(6, 0, IDS, FOREIGN_IDS)


def test_a_permit_is_found():
    """The checker itself: a request that is in order, of a lead who is known."""
    story = Story()
    tested = Trial()
    for entry in story.journal[1:]:
        tested.give(sound(entry.body, "crm.events"))  # type: ignore[arg-type]
    request = AgentRequest(
        request_id=RequestId("r1"), lead_id=LeadId(story.lead), agent_id=AgentId("booking-1"), role="booking",
        action="send_message", channel=Channel.SMS, text="Hello.", requested_at=START,
    )  # fmt: skip
    with pytest.raises(BrokenError, match="it was permitted: send_message by booking"):
        tested.give(sound(request, "agent.requests"))


def test_a_crash_is_found(monkeypatch: pytest.MonkeyPatch):
    def decode(self: Codec, record: type[Record], data: bytes | None) -> Record:
        raise IndexError("list index out of range")

    monkeypatch.setattr(Codec, "decode", decode)
    with pytest.raises(BrokenError, match="raised IndexError"):
        Trial().give(ringing())


def test_a_record_that_is_passed_over_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Admission, "take", lambda self, record, receipt: receipt.release() or [])
    with pytest.raises(BrokenError, match="nothing came of it"):
        Trial().give(ringing())


def test_a_dead_letter_without_its_original_is_found(monkeypatch: pytest.MonkeyPatch):
    whole = Admission.take
    monkeypatch.setattr(
        Admission, "take", lambda self, record, receipt: whole(self, record._replace(value=b"other"), receipt)
    )
    with pytest.raises(BrokenError, match="does not hold the original"):
        Trial().give(ringing())


def test_a_defect_that_intake_survives_is_found(monkeypatch: pytest.MonkeyPatch):
    def admit(*_: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr("processors.intake.admit", admit)
    with pytest.raises(BrokenError, match="a defect, please report it"):
        Trial().give(ringing())


def test_something_too_large_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trial, "MAX_BYTES", 100)
    with pytest.raises(BrokenError, match="bytes"):
        Trial().give(ringing())


def test_the_command_ends_with_0_and_says_how_many(capsys: pytest.CaptureFixture[str]):
    assert command.main(["--records", "60", "--webhooks", "20", "--seed", "2"]) == 0
    assert "80 in " in capsys.readouterr().out


def test_the_command_ends_with_1_and_names_the_record(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trial, "MAX_ERROR", 3)
    assert command.main(["--records", "60", "--webhooks", "0", "--seed", "2"]) == 1
    assert "of seed 2" in capsys.readouterr().out
