"""Admission to the journal: whose event is it, and what does the directory learn?"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from perceiving import FOLDER, RECEIVED_AT, body_of, load

from processors.intake import Admission, Admitted, Refused, Source, Unresolved, admit
from schemas import codec
from schemas.records import (
    AgentId,
    AgentRequest,
    CallDirectoryEntry,
    CallEvent,
    CallEventType,
    Channel,
    DeadLetterCode,
    EntryKind,
    JournalEntry,
    LeadId,
    PolicyActivation,
    ProviderWebhook,
    Record,
    RequestId,
    Signal,
    SignalType,
    Speaker,
    Tick,
)

AT = 1_770_900_060_000_000
SOURCE = Source("perception.raw", 2, 17, "00-trace-01")
SID = "CA5ef8732a3c49700934481addd5ce1659"
CHILD = "CAa1d4c1d2f2b9c0a5a30f3f7b2a6d9e11"
STREAM = "MZ18ad3ab5a668481ce02b83e7395059f0"
SESSION = "428c31b6-abf3-3bc1-b7f4-5013ef9657c1"


class Desk:
    """Admits records one after the other, with the directory that they fill."""

    def __init__(self) -> None:
        self.directory: dict[tuple[str, str], CallDirectoryEntry] = {}

    def hand_in(self, value: Record, at: int = AT) -> Admission:
        result = admit(value, SOURCE, at, self.directory)
        if isinstance(result, Admitted):
            self.directory.update({(entry.provider, entry.call_id): entry for entry in result.learned})
        return result

    def webhook(self, provider: str, payload: Any, headers: Mapping[str, str] | None = None) -> Admission:
        return self.hand_in(webhook(provider, payload, headers))

    def file(self, name: str, headers: Mapping[str, str] | None = None) -> Admission:
        text = (FOLDER / name).read_text()
        return self.webhook(name.split("/")[0], text if name.endswith(".txt") else json.loads(text), headers)


def webhook(provider: str, payload: Any, headers: Mapping[str, str] | None = None) -> ProviderWebhook:
    return ProviderWebhook(
        raw_id="raw-1", provider=provider, headers=dict(headers or {}), body=body_of(payload), received_at=RECEIVED_AT
    )


def entries(result: Admission) -> tuple[JournalEntry, ...]:
    assert isinstance(result, Admitted), result
    return result.entries


def body(result: Admission) -> Any:
    (entry,) = entries(result)
    return entry.body


def call_event(**fields: Any) -> CallEvent:
    given: dict[str, Any] = {
        "event_id": "e-1", "provider": "own", "call_id": "c-1", "type": CallEventType.CALL_ANSWERED, "received_at": AT,
    }  # fmt: skip
    return CallEvent(**given | fields)


def request(**fields: Any) -> AgentRequest:
    given: dict[str, Any] = {
        "request_id": RequestId("r-1"), "lead_id": LeadId("lead-1"), "agent_id": AgentId("a-1"), "role": "booking",
        "action": "send_message", "channel": Channel.SMS, "requested_at": AT,
    }  # fmt: skip
    return AgentRequest(**given | fields)


def refusal(result: Admission) -> Refused:
    assert isinstance(result, Refused), result
    return result


# --- whose call it is


def test_a_webhook_that_names_its_lead_is_admitted_with_lead_conversation_and_position() -> None:
    desk = Desk()
    (entry,) = entries(
        desk.file("twilio/status_ringing.json", {"X-Original-Url": "https://p.example/?lead_id=lead-17"})
    )
    assert (entry.lead_id, entry.kind, entry.at) == ("lead-17", EntryKind.CALL, AT)
    assert (entry.source_topic, entry.source_partition, entry.source_offset) == ("perception.raw", 2, 17)
    assert entry.traceparent == "00-trace-01"
    assert isinstance(entry.body, CallEvent)
    assert (entry.body.lead_id, entry.body.conversation_id) == ("lead-17", f"twilio:{SID}")


def test_a_call_nobody_knows_is_unresolved_until_its_lead_is_told() -> None:
    desk = Desk()
    assert desk.file("twilio/status_completed.txt") == Unresolved("twilio", SID)
    desk.file("twilio/status_initiated.json", {"x-mandate-lead-id": "lead-17"})
    assert body(desk.file("twilio/status_completed.txt")).lead_id == "lead-17"


def test_terminal_first_arrival_is_admitted_when_it_names_its_lead() -> None:
    assert body(Desk().file("telnyx/hangup_normal.json")).type is CallEventType.CALL_ENDED


def test_the_stream_that_told_its_lead_at_start_resolves_messages_that_carry_its_own_id_alone() -> None:
    desk, messages = Desk(), load("twilio/media_stream.json")
    assert desk.webhook("twilio", messages[7]) == Unresolved("twilio", STREAM)
    assert [key[1] for key in desk.directory] == []
    desk.webhook("twilio", messages[1])
    assert [key[1] for key in desk.directory] == [STREAM, SID]
    clear = body(desk.webhook("twilio", messages[7]))
    assert (clear.lead_id, clear.conversation_id) == ("lead-17", f"twilio:{SID}")


def test_every_id_that_later_telnyx_events_may_carry_is_learned() -> None:
    desk = Desk()
    desk.file("telnyx/initiated.json")
    fields = load("telnyx/initiated.json")["data"]["payload"]
    for name in ("call_control_id", "call_leg_id", "call_session_id"):
        entry = desk.directory["telnyx", fields[name]]
        assert (entry.lead_id, entry.conversation_id, entry.seen_at) == ("lead-23", f"telnyx:{SESSION}", AT)


def test_a_transcription_session_joins_the_conversation_of_the_call_it_listens_to() -> None:
    desk = Desk()
    tied = {"x-mandate-call-id": f"twilio:{SID}"}
    assert desk.file("deepgram/speech_started.json", tied) == Unresolved("twilio", SID)
    desk.file("twilio/status_initiated.json", {"x-mandate-lead-id": "lead-17"})
    segment = body(desk.file("deepgram/results_final.json", tied | {"x-mandate-lead-id": "lead-17"}))
    assert (segment.provider, segment.conversation_id) == ("deepgram", f"twilio:{SID}")
    untied = body(desk.file("deepgram/results_empty_final.json"))
    assert (untied.lead_id, untied.conversation_id) == ("lead-17", f"twilio:{SID}")


def test_what_the_payload_claims_goes_before_what_the_directory_remembers() -> None:
    desk = Desk()
    desk.hand_in(call_event(lead_id="lead-1"))
    later = desk.hand_in(call_event(event_id="e-2", lead_id="lead-2"))
    assert body(later).lead_id == "lead-2"
    assert body(desk.hand_in(call_event(event_id="e-3"))).lead_id == "lead-1"


def test_metadata_gives_no_entry_and_needs_no_lead() -> None:
    assert Desk().file("deepgram/metadata.json") == Admitted()


def test_a_message_that_names_no_call_is_refused_with_the_way_out() -> None:
    refused = refusal(Desk().file("deepgram/speech_started.json"))
    assert refused.code is DeadLetterCode.BAD_PAYLOAD
    assert "x-mandate-call-id" in refused.error


# --- legs beside the lead's own


def test_a_twilio_child_call_is_the_transfer_and_does_not_end_the_leads_call() -> None:
    desk = Desk()
    desk.file("twilio/status_initiated.json", {"x-mandate-lead-id": "lead-17"})
    answered, busy = (body(desk.file(f"twilio/status_child_{how}.json")) for how in ("answered", "busy"))
    assert (answered.type, answered.conversation_id) == (CallEventType.TRANSFER_COMPLETED, f"twilio:{SID}")
    assert (busy.type, busy.cause) == (CallEventType.TRANSFER_FAILED, None)


def test_what_is_said_on_a_child_call_the_lead_did_not_say() -> None:
    desk = Desk()
    desk.file("twilio/status_initiated.json", {"x-mandate-lead-id": "lead-17"})
    said = load("twilio/rtt_final_agent.json") | {"CallSid": CHILD, "Track": "inbound_track"}
    assert desk.webhook("twilio", said) == Unresolved("twilio", CHILD)
    desk.file("twilio/status_child_answered.json")
    segment = body(desk.webhook("twilio", said))
    assert (segment.speaker, segment.conversation_id) == (Speaker.HUMAN, f"twilio:{SID}")


def test_another_leg_of_a_telnyx_session_is_the_transfer_and_does_not_end_the_leads_call() -> None:
    desk = Desk()
    desk.file("telnyx/initiated.json")
    seen = [body(desk.webhook("telnyx", event)) for event in load("telnyx/other_leg.json")]
    assert [e.type for e in seen if isinstance(e, CallEvent)] == [
        CallEventType.TRANSFER_STARTED, CallEventType.TRANSFER_COMPLETED, CallEventType.UNKNOWN,
    ]  # fmt: skip
    assert seen[2].speaker is Speaker.HUMAN
    assert {e.conversation_id for e in seen} == {f"telnyx:{SESSION}"}
    assert body(desk.file("telnyx/hangup_normal.json")).type is CallEventType.CALL_ENDED


def test_of_two_legs_of_a_session_that_claim_the_lead_the_first_is_the_leads() -> None:
    desk = Desk()
    desk.file("telnyx/initiated.json")
    hangup = load("telnyx/other_leg.json")[3]
    hangup["data"]["payload"]["client_state"] = load("telnyx/initiated.json")["data"]["payload"]["client_state"]
    assert body(desk.webhook("telnyx", hangup)).type is CallEventType.UNKNOWN


def test_a_session_announced_without_its_legs_takes_every_leg_for_the_leads() -> None:
    desk = Desk()
    desk.hand_in(call_event(provider="telnyx", call_id=SESSION, lead_id="lead-23"))
    hangup = load("telnyx/hangup_normal.json")
    hangup["data"]["payload"]["client_state"] = None
    assert body(desk.webhook("telnyx", hangup)).type is CallEventType.CALL_ENDED


# --- typed records


def test_a_typed_event_without_a_lead_is_resolved_by_the_directory() -> None:
    desk = Desk()
    assert desk.hand_in(call_event()) == Unresolved("own", "c-1")
    desk.hand_in(call_event(lead_id="lead-1", leg_id="leg-1", conversation_id="conv-9"))
    assert [key[1] for key in desk.directory] == ["c-1", "leg-1"]
    found = body(desk.hand_in(call_event(event_id="e-2", call_id="leg-1")))
    assert (found.lead_id, found.conversation_id) == ("lead-1", "conv-9")


def test_a_known_call_is_not_learned_again() -> None:
    desk = Desk()
    desk.hand_in(call_event(lead_id="lead-1"))
    again = desk.hand_in(call_event(lead_id="lead-1"), at=AT + 1)
    assert isinstance(again, Admitted)
    assert again.learned == ()


def test_a_repeat_has_the_same_entry_id_and_another_lead_or_kind_has_not() -> None:
    first, again = (entries(Desk().hand_in(call_event(lead_id="lead-1"), at=at))[0] for at in (AT, AT + 5))
    assert first.entry_id == again.entry_id
    assert entries(Desk().hand_in(call_event(lead_id="lead-2")))[0].entry_id != first.entry_id
    signal = Signal(
        event_id="e-1", lead_id=LeadId("lead-1"), type=SignalType.OPT_OUT, confidence=1.0, detector="d", received_at=AT
    )
    assert entries(Desk().hand_in(signal))[0].entry_id != first.entry_id


def test_a_request_is_one_entry_of_its_lead_and_is_left_as_it_is() -> None:
    (entry,) = entries(Desk().hand_in(request()))
    assert (entry.lead_id, entry.kind, entry.body) == ("lead-1", EntryKind.REQUEST, request())


def test_a_policy_activation_is_one_entry_of_no_lead() -> None:
    activation = PolicyActivation(
        activation_id="p-1", version="1", revision=1, digest="d", bundle="x" * 50_000, approved_by="a", reason="r"
    )
    (entry,) = entries(Desk().hand_in(activation))
    assert (entry.lead_id, entry.kind) == ("", EntryKind.POLICY)


def test_every_admitted_entry_fits_the_journals_schema() -> None:
    desk = Desk()
    results = [desk.file("telnyx/initiated.json"), desk.hand_in(request()), desk.hand_in(call_event(lead_id="l"))]
    for entry in (entry for result in results for entry in entries(result)):
        assert codec.decode(JournalEntry, codec.encode(entry)) == entry


# --- refusals


def test_a_provider_without_an_adapter_is_refused_and_the_known_ones_are_named() -> None:
    refused = refusal(Desk().webhook("pigeon", {}))
    assert (refused.code, "deepgram" in refused.error) == (DeadLetterCode.UNKNOWN_PROVIDER, True)


@pytest.mark.parametrize("provider", ["twilio", "telnyx", "deepgram"])
@pytest.mark.parametrize("payload", [{}, "", "x" * 300_000, "[" * 100_000, '{"a":' * 100 + "1" + "}" * 100])
def test_a_payload_that_is_not_the_providers_too_big_or_too_deep_is_a_bad_payload(provider: str, payload: Any) -> None:
    assert refusal(Desk().webhook(provider, payload)).code is DeadLetterCode.BAD_PAYLOAD


@pytest.mark.parametrize(
    "value",
    [
        request(lead_id=""),
        request(request_id=""),
        request(agent_id="a" * 201),
        request(parameters={"note": "n" * 8001}),
        request(parameters={f"p{i}": 1 for i in range(101)}),
        request(crm_fields={"": "x"}),
        request(requested_at=-1),
        request(requested_at=1_770_900_060_000_000_000),
        request(role="\ud800"),
        call_event(lead_id=""),
        call_event(call_id=""),
        call_event(lead_id="l", confidence=1.5),
        call_event(lead_id="l", confidence=float("nan")),
        call_event(lead_id="l", detail="d" * 8001),
        call_event(lead_id="l", occurred_at=2**62),
        Tick(tick_id="t", at=AT),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_out_of_bounds_is_refused_and_named(value: Record) -> None:
    refused = refusal(Desk().hand_in(value))
    assert refused.code is DeadLetterCode.BAD_VALUE
    assert type(value).__name__ in refused.error


def test_values_at_the_bounds_are_admitted() -> None:
    longest = request(agent_id="a" * 200, parameters={"note": "n" * 8000, "on": True, "count": 2**62})
    assert body(Desk().hand_in(longest)) == longest
    assert isinstance(Desk().hand_in(msgspec.structs.replace(call_event(lead_id="l"), confidence=1.0)), Admitted)
