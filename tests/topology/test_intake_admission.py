"""What intake makes of one record: entries, a wait, or a dead letter; each input has one defined outcome."""

from schemas import records
from schemas.codec import MAX_BYTES
from schemas.partitioner import partition_of
from schemas.records import CallDirectoryEntry, DeadLetter, DeadLetterCode, JournalEntry
from streams.directory import KEPT_US
from streams.offsets import Place
from tests.topology.admitting import CODEC, START, WAIT_US, Desk, call, journaled, read

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_an_event_goes_to_the_journal_under_its_lead_not_under_the_key_it_came_with():
    *_, out = Desk().take(call("e1", lead="lead-1"))
    assert (out.topic, out.key, out.partition) == ("execution.journal", "lead-1", partition_of("lead-1", 4))
    assert isinstance(out.value, JournalEntry)
    assert out.value.lead_id == "lead-1"


def test_the_records_timestamp_is_the_entrys_own_time_to_the_microsecond():
    *_, out = Desk().take(call("e1", lead="lead-1"))
    assert isinstance(out.value, JournalEntry)
    assert out.value.at == out.timestamp_ms * 1000 == START


def test_the_journals_time_never_goes_back_when_the_clock_does():
    desk = Desk()
    times = []
    for now in (START + 5_000, START, START + 3_000, START + 9_000):
        desk.clock._at = now  # a system clock that was set back
        times.append(desk.take(call(f"e{now}", lead="lead-1"))[-1].timestamp_ms * 1000 - START)
    assert times == [5_000, 5_000, 5_000, 9_000]


def test_a_trace_is_passed_on_in_the_entry_and_in_its_headers():
    *_, out = Desk().take(call("e1", lead="lead-1"), headers=[("traceparent", TRACE)])
    assert isinstance(out.value, JournalEntry)
    assert out.value.traceparent == TRACE.decode()
    assert out.headers["traceparent"] == TRACE
    assert out.headers["ce_id"] == out.value.entry_id.encode()
    assert out.headers["ce_subject"] == b"lead-1"


def test_an_entry_says_where_its_record_came_from():
    desk = Desk()
    desk.take(call("e0", lead="lead-1"))
    *_, out = desk.take(call("e1", lead="lead-1"), partition=3)
    assert isinstance(out.value, JournalEntry)
    assert (out.value.source_topic, out.value.source_partition, out.value.source_offset) == ("telephony.events", 3, 1)


def test_a_redelivered_record_makes_an_entry_of_the_same_id():
    first, again = (Desk().take(call("e1", lead="lead-1"))[-1].value for _ in range(2))
    assert isinstance(first, JournalEntry)
    assert isinstance(again, JournalEntry)
    assert first.entry_id == again.entry_id


def test_a_policy_goes_to_every_partition_of_the_journal_without_a_key():
    activation = records.PolicyActivation(
        activation_id="a", version="1", revision=1, digest="d", bundle="{}", approved_by="x", reason=""
    )
    desk = Desk(partitions=3)
    outs = desk.take(activation)
    assert [(out.partition, out.key) for out in outs] == [(0, None), (1, None), (2, None)]
    assert len({out.value.entry_id for out in outs if isinstance(out.value, JournalEntry)}) == 1
    assert desk.receipts[0].holds == 3


def test_the_directory_learns_a_call_before_the_journal_gets_its_event():
    desk = Desk()
    outs = desk.take(call("e1", lead="lead-1"))
    assert [out.topic for out in outs] == ["call.directory", "execution.journal"]
    assert outs[0].key == "twilio:CA1"
    assert desk.calls["twilio", "CA1"].lead_id == "lead-1"
    assert [out.topic for out in desk.take(call("e2", lead="lead-1"))] == ["execution.journal"]


def test_a_record_without_a_lead_waits_and_is_not_dealt_with():
    desk = Desk()
    assert desk.take(call("e1")) == []
    assert desk.admission.waiting == 1
    assert desk.receipts[0].holds == 1


def test_those_that_wait_go_before_the_record_that_tells_their_lead():
    desk = Desk()
    desk.take(call("e1"), partition=1)
    desk.take(call("e2"), partition=2)
    desk.take(call("other", call_id="CA2"))
    outs = desk.take(call("e3", lead="lead-1"))
    assert journaled(outs) == ["e1", "e2", "e3"]
    assert {out.key for out in outs if out.topic == "execution.journal"} == {"lead-1"}
    assert desk.admission.waiting == 1


def test_those_that_waited_are_stamped_when_they_go_and_none_after_what_follows_it():
    desk = Desk()
    desk.take(call("e1"))
    desk.clock.observe(START + 4_000_000)
    outs = desk.take(call("e2", lead="lead-1"))
    times = [out.timestamp_ms for out in outs if out.topic == "execution.journal"]
    assert times == [START // 1000 + 4_000] * 2


def test_what_another_intake_learned_lets_the_waiting_go():
    desk = Desk()
    desk.take(call("e1"))
    assert desk.admission.take_news() == []
    desk.calls.learn(_entry("CA1", "lead-9"))
    outs = read(desk.admission.take_news())
    assert journaled(outs) == ["e1"]
    assert outs[0].key == "lead-9"
    assert desk.admission.take_news() == []


def test_a_record_whose_lead_stays_unknown_is_a_dead_letter_after_its_wait_and_not_before():
    desk = Desk()
    desk.take(call("e1"))
    desk.clock.observe(START + WAIT_US - 1_000)
    assert desk.admission.expire() == []
    desk.clock.observe(START + WAIT_US)
    (out,) = read(desk.admission.expire())
    assert isinstance(out.value, DeadLetter)
    assert out.value.code is DeadLetterCode.UNRESOLVED_LEAD
    assert "CA1 of twilio" in out.value.error
    assert CODEC.decode(records.CallEvent, out.value.value).event_id == "e1"
    assert desk.admission.waiting == 0


def test_a_lead_that_became_known_under_another_name_of_the_call_is_found_before_giving_up():
    desk = Desk()
    desk.take(call("e1"))
    desk.calls.learn(_entry("CA1", "lead-1"))
    desk.calls.take_news()
    desk.clock.observe(START + WAIT_US)
    assert journaled(read(desk.admission.expire())) == ["e1"]


def test_when_too_many_wait_the_one_that_waited_longest_becomes_a_dead_letter():
    desk = Desk(limit=2)
    desk.take(call("e1", call_id="CA1"))
    desk.take(call("e2", call_id="CA2"))
    (out,) = desk.take(call("e3", call_id="CA3"))
    assert isinstance(out.value, DeadLetter)
    assert out.value.offset == 0
    assert desk.admission.waiting == 2
    assert journaled(desk.take(call("e4", call_id="CA2", lead="lead-2"))) == ["e2", "e4"]


def test_a_call_of_long_ago_is_forgotten_so_that_memory_is_bounded():
    desk = Desk()
    desk.take(call("e1", lead="lead-1"))
    assert len(desk.calls) == 1
    desk.clock.observe(START + KEPT_US)
    desk.admission.take_news()
    assert journaled(desk.take(call("e2", lead=None)))
    desk.clock.observe(START + KEPT_US + 1_000)
    desk.admission.take_news()
    assert len(desk.calls) == 0
    assert desk.take(call("e3", lead=None)) == []
    assert desk.admission.waiting == 1


def test_what_waits_is_left_to_the_next_owner_of_its_partition():
    desk = Desk()
    desk.take(call("e1"), partition=1)
    desk.take(call("e2"), partition=2)
    desk.admission.forget({Place("telephony.events", 1)})
    assert desk.admission.waiting == 1
    assert journaled(desk.take(call("e3", lead="lead-1"))) == ["e2", "e3"]


def test_bytes_that_are_not_avro_are_a_dead_letter_with_the_original_whole():
    desk = Desk()
    (out,) = desk.take(b'{"event_id": "e1"}', partition=2, headers=[("x-app", b"v1"), ("empty", None)])
    letter = out.value
    assert isinstance(letter, DeadLetter)
    assert letter.code is DeadLetterCode.NOT_AVRO
    assert (letter.topic, letter.partition, letter.offset) == ("telephony.events", 2, 0)
    assert (letter.key, letter.value) == (b"any key", b'{"event_id": "e1"}')
    assert letter.headers == {"x-app": b"v1", "empty": b""}
    assert out.key == b"any key"
    assert out.headers["x-app"] == b"v1"
    assert out.headers["__connect.errors.topic"] == b"telephony.events"
    assert out.headers["__connect.errors.exception.class.name"] == b"NOT_AVRO"


def test_a_tombstone_on_an_input_is_a_dead_letter():
    (out,) = Desk().take(None)
    assert isinstance(out.value, DeadLetter)
    assert out.value.value is None


def test_the_same_bad_record_is_the_same_dead_letter_when_it_comes_again():
    first, again = (Desk().take(b"junk")[0].value for _ in range(2))
    assert first == again


def test_an_unknown_providers_webhook_is_a_dead_letter_that_names_those_that_are_known():
    webhook = records.ProviderWebhook(raw_id="r", provider="acme", body=b"{}", received_at=START)
    (out,) = Desk().take(webhook)
    assert isinstance(out.value, DeadLetter)
    assert out.value.code is DeadLetterCode.UNKNOWN_PROVIDER
    assert "twilio" in out.value.error


def test_hostile_webhooks_are_taken_or_become_dead_letters_and_never_stop_intake():
    bodies = [
        b"",
        b"null",
        b"[" * 200_000,
        b"{" * 500,
        b'{"data":' * 300 + b"1" + b"}" * 300,
        b"\xff\xfe",
        b"a=%ZZ&a=1",
    ]
    bodies += [b'{"type": 1, "metadata": [], "channel": null}', b'{"event": {"a": 1}}', b'{"data": {"payload": 7}}']
    for provider in ("twilio", "telnyx", "deepgram"):
        for number, body in enumerate(bodies):
            desk = Desk()
            webhook = records.ProviderWebhook(raw_id=f"r{number}", provider=provider, body=body, received_at=START)
            letters = [out.value for out in desk.take(webhook) if isinstance(out.value, DeadLetter)]
            assert all(letter.code is not DeadLetterCode.UNKNOWN for letter in letters), letters[0].error


def test_a_record_too_large_to_be_read_is_a_dead_letter_that_can_be_read():
    (out,) = Desk().take(b"\x00" + b"\x00" * 4 + b"x" * MAX_BYTES)
    assert isinstance(out.value, DeadLetter)
    assert out.value.code is DeadLetterCode.TOO_LARGE
    assert len(out.value.value or b"") == MAX_BYTES + 5


def test_a_record_whose_journal_entry_control_could_not_read_is_a_dead_letter():
    huge = records.PolicyActivation(
        activation_id="a",
        version="1",
        revision=1,
        digest="d",
        bundle="x" * (MAX_BYTES - 30),
        approved_by="x",
        reason="",
    )
    assert len(CODEC.encode(huge)) < MAX_BYTES
    (out,) = Desk().take(huge)
    assert isinstance(out.value, DeadLetter)
    assert out.value.code is DeadLetterCode.TOO_LARGE


def test_a_record_is_dealt_with_once_everything_that_follows_from_it_is_delivered():
    desk = Desk()
    desk.take(call("e1", lead="lead-1"))
    receipt = desk.receipts[0]
    assert receipt.holds == 2  # directory and journal
    receipt.release()
    assert receipt.holds == 1
    receipt.release()
    assert receipt.holds == 0


def _entry(call_id: str, lead: str) -> CallDirectoryEntry:
    return CallDirectoryEntry(
        provider="twilio",
        call_id=call_id,
        lead_id=records.LeadId(lead),
        conversation_id=records.ConversationId(f"twilio:{call_id}"),
        seen_at=START,
    )
