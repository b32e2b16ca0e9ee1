"""Kinds of check, one by one: the case that holds and the nearest that does not. Whole requests: tests/scenarios."""

from typing import Any

import pytest
from msgspec import structs

from processors.checks import CHECKS, FACT_CHECKS
from processors.hearing import Failure, Hearing, Situation
from processors.policy import (
    AnsweredByCheck,
    FactAbsent,
    FactIn,
    FactNotIn,
    FactPresent,
    IntentConfirmed,
    ObligationMet,
    WithinAuthority,
)
from schemas.records import AgentId, AgentRequest, Channel, ConversationId, Fact, LeadId, RequestId
from tests.core.decision_table import LAW, NOW
from tests.core.story import SECOND

CALL = ConversationId("c1")
REQUEST = AgentRequest(
    request_id=RequestId("r"), lead_id=LeadId("l"), conversation_id=CALL, agent_id=AgentId("me"), role="closing",
    action="offer_discount", channel=Channel.VOICE, requested_at=NOW,
)  # fmt: skip
WITHOUT_CALL = {"conversation_id": None}


def fact(value: str, *, final: bool = True, at: int = NOW, confidence: float | None = None) -> Fact:
    return Fact(value=value, version=1, offset=1, at=at, final=final, confidence=confidence)


def answer(
    kind: str, check: object = None, facts: dict[str, str | Fact] | None = None, **request: Any
) -> Failure | None:
    """What a check says of a request by a closing agent in call c1, on these facts."""
    stored = {name: fact(value) if isinstance(value, str) else value for name, value in (facts or {}).items()}
    hearing = Hearing(structs.replace(REQUEST, **request), Situation(stored, (), NOW, LAW), LAW, NOW)
    return CHECKS[kind](hearing, check)


# --- one fact
@pytest.mark.parametrize(
    ("check", "value", "code"),
    [
        (FactIn(kind="fact_in", fact="risk", values=("high",)), fact("high"), None),
        (FactIn(kind="fact_in", fact="risk", values=("high",)), fact("high", final=False), None),
        (FactIn(kind="fact_in", fact="risk", values=("high",), final=True), fact("high"), None),
        (FactIn(kind="fact_in", fact="risk", values=("high",), final=True), fact("high", final=False), "INTERIM_ONLY"),
        (FactIn(kind="fact_in", fact="risk", values=("high",)), fact("low"), "fails"),
        (FactIn(kind="fact_in", fact="risk", values=("high",)), None, "fails"),
        (FactNotIn(kind="fact_not_in", fact="risk", values=("high",)), None, None),
        (FactNotIn(kind="fact_not_in", fact="risk", values=("high",)), fact("low"), None),
        (FactNotIn(kind="fact_not_in", fact="risk", values=("high",)), fact("high"), "fails"),
        (FactAbsent(kind="fact_absent", fact="risk"), None, None),
        (FactAbsent(kind="fact_absent", fact="risk"), fact("low"), "fails"),
        (FactPresent(kind="fact_present", fact="risk"), fact("low"), None),
        (FactPresent(kind="fact_present", fact="risk"), None, "fails"),
    ],
)
def test_a_check_of_one_fact(check: Any, value: Fact | None, code: str | None) -> None:
    found = FACT_CHECKS[check.kind](value, check)
    assert (None if found is None else found.code or "fails") == code


# --- more than one
DAY_OLD = NOW - 86_400 * SECOND
COMMITS = "intent.language_commitment"


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({COMMITS: fact("confirmed", at=DAY_OLD + 1)}, None),
        ({COMMITS: fact("lapsed", final=False)}, "STALE_FACT"),
        ({COMMITS: fact("confirmed", final=False)}, "INTERIM_ONLY"),
        ({COMMITS: fact("indicated", confidence=0.95)}, "INTERIM_ONLY"),
        ({COMMITS: fact("indicated", confidence=0.9)}, "INTERIM_ONLY"),
        ({COMMITS: fact("indicated", confidence=0.89)}, "LOW_CONFIDENCE"),
        ({COMMITS: fact("indicated"), "conflict.language_commitment": "yes"}, "CONFLICTING_FACTS"),
        ({COMMITS: fact("indicated"), "late.language_commitment": "yes"}, "LATE_EVIDENCE"),
        ({COMMITS: fact("paused"), "late.language_commitment": "yes"}, "fails"),
        ({COMMITS: "withdrawn"}, "fails"),
        ({}, "fails"),
    ],
)
def test_an_intent_counts_when_it_is_confirmed_final_and_young(facts: dict[str, str | Fact], code: str | None) -> None:
    found = answer("intent_confirmed", IntentConfirmed(kind="intent_confirmed", intent="language_commitment"), facts)
    assert (None if found is None else found.code or "fails") == code


DISCLOSED = ObligationMet(kind="obligation_met", obligation="announce_recording", jurisdictions=("US-FL", "US-CA"))
MACHINE = AnsweredByCheck(kind="answered_by", who="MACHINE", unknown="fails", missing="fails")
PERSON = AnsweredByCheck(kind="answered_by", who="HUMAN", unknown="holds", missing="fails")
DISCOUNT = WithinAuthority(kind="within_authority", limit="max_discount_bp", parameter="discount_bp")
OPEN, HOLDING = {"speech_mode/c1": "OPEN"}, {"speech_mode/c1": "NEUTRAL_HOLDING"}
CLOSING = {"stage": "closing"}


@pytest.mark.parametrize(
    ("kind", "check", "facts", "request_fields"),
    [
        ("obligation_met", DISCLOSED, {"lead.jurisdictions": "US"}, {}),
        ("obligation_met", DISCLOSED, {"obligation.announce_recording/c1": "fulfilled"}, {}),
        ("answered_by", MACHINE, {"conversation.answered_by/c1": "MACHINE"}, {}),
        ("answered_by", PERSON, {"conversation.answered_by/c1": "UNKNOWN"}, {}),
        ("action_in_role", None, {}, {}),
        ("channel_in_role", None, {}, {"channel": Channel.EMAIL}),
        ("tool_in_role", None, {}, {}),
        ("tool_in_role", None, {}, {"tool": "quote"}),
        ("prompt_in_scope", None, {}, {"prompt_scope": "offer"}),
        ("tokens_in_limit", None, OPEN, {"max_tokens": 300}),
        ("tokens_in_limit", None, HOLDING, {"max_tokens": 60}),
        ("tokens_in_limit", None, HOLDING, {"max_tokens": 1}),
        ("tokens_in_limit", None, HOLDING, WITHOUT_CALL | {"max_tokens": 61}),
        ("wording", None, OPEN, {"text": "are you ready to sign"}),
        ("wording", None, CLOSING, WITHOUT_CALL | {"text": "are you ready to sign"}),
        ("mode_allows", None, {}, {}),
        ("mode_allows", None, {"barred.offer/c2": "SILENT"}, {}),
        ("mode_allows", None, OPEN, {"tool": "quote"}),
        ("mode_allows", None, HOLDING, {"tool": "crm", "action": "update_crm"}),
        ("fields_in_role", None, {}, {"crm_fields": {"deal_status": "won"}}),
        ("within_authority", DISCOUNT, {}, {"parameters": {"discount_bp": 1000}}),
        ("within_authority", DISCOUNT, {}, {"parameters": {"discount_bp": 0}}),
        ("stage_reached", None, CLOSING, {}),
        ("stage_reached", None, {}, {"action": "update_crm"}),
        ("stage_reached", None, CLOSING, {"action": "probe_scope"}),
        ("conversation_live", None, {"conversation.phase/c1": "answered", "conversation.channel/c1": "VOICE"}, {}),
        ("conversation_live", None, {"conversation.phase/c1": "answered"}, {"channel": Channel.BACKEND}),
        ("conversation_live", None, {}, WITHOUT_CALL | {"action": "send_message"}),
        ("floor_free", None, {}, {}),
        ("floor_free", None, {"floor": "me"}, {}),
        ("floor_free", None, {"floor": "other"}, {"action": "update_crm"}),
        ("turn_free", None, {"conversation.outgoing/c1": "me"}, {}),
        ("turn_free", None, {"conversation.outgoing/c1": "other"}, {"action": "update_crm"}),
        ("effect_free", None, {"pending.price": "other"}, {}),
        ("effect_free", None, {"pending.price": "me"}, {"action": "discuss_price"}),
        ("effect_not_refused", None, {"refused.price": "buyer"}, {}),
        ("not_suspended", None, {"suspended.discuss_price": "risk"}, {}),
        ("in_time", None, {}, {"requested_at": NOW - 30 * SECOND}),
        ("in_time", None, {}, {"requested_at": NOW + 30 * SECOND}),
        ("in_time", None, {}, {"deadline": NOW + 1}),
        ("contactable", None, {"do_not_contact.sms": "crm"}, {}),
        ("consent", None, {"consent.voice.sales": "EXPRESS_WRITTEN"}, {}),
        ("consent", None, {"consent.email.sales": "EXPRESS"}, {"channel": Channel.EMAIL}),
    ],
)
def test_what_is_allowed(kind: str, check: Any, facts: dict[str, str | Fact], request_fields: dict[str, Any]) -> None:
    assert answer(kind, check, facts, **request_fields) is None


@pytest.mark.parametrize(
    ("kind", "check", "facts", "request_fields"),
    [
        ("obligation_met", DISCLOSED, {"lead.jurisdictions": "US,US-CA"}, {}),
        ("obligation_met", DISCLOSED, {"lead.jurisdictions": "US-FL"}, {}),
        ("obligation_met", DISCLOSED, {}, {}),
        ("obligation_met", DISCLOSED, {"obligation.announce_recording/c1": "heard"}, {}),
        ("obligation_met", DISCLOSED, {"obligation.announce_recording/c2": "fulfilled"}, {}),
        ("obligation_met", DISCLOSED.model_copy(update={"jurisdictions": ()}), {}, {}),
        ("answered_by", MACHINE, {"conversation.answered_by/c1": "HUMAN"}, {}),
        ("answered_by", MACHINE, {"conversation.answered_by/c1": "UNKNOWN"}, {}),
        ("answered_by", MACHINE, {}, {}),
        ("answered_by", PERSON, {}, {}),
        ("answered_by", PERSON, {"conversation.answered_by/c1": "MACHINE"}, {}),
        ("action_in_role", None, {}, {"action": "initiate_contact"}),
        ("channel_in_role", None, {}, {"channel": Channel.SMS}),
        ("tool_in_role", None, {}, {"tool": "dialer"}),
        ("prompt_in_scope", None, {}, {"prompt_scope": "discovery"}),
        ("tokens_in_limit", None, OPEN, {"max_tokens": 301}),
        ("tokens_in_limit", None, HOLDING, {"max_tokens": 61}),
        ("tokens_in_limit", None, HOLDING, {"max_tokens": 0}),
        ("tokens_in_limit", None, HOLDING, {"max_tokens": -1}),
        ("tokens_in_limit", None, {}, WITHOUT_CALL | {"max_tokens": 301}),
        ("wording", None, OPEN, {"text": "this is risk free"}),
        ("wording", None, {"speech_mode/c1": "NO_COMMITMENT"}, {"text": "are you ready to sign"}),
        ("wording", None, {**CLOSING, "objection.open": "price"}, WITHOUT_CALL | {"text": "are you ready to sign"}),
        ("wording", None, {"stage": "transfer"}, WITHOUT_CALL | {"text": "are you ready to sign"}),
        ("wording", None, {}, WITHOUT_CALL | {"text": "are you ready to sign"}),
        ("mode_allows", None, {"barred.offer/c1": "SILENT"}, {}),
        ("mode_allows", None, HOLDING, {"tool": "quote"}),
        ("fields_in_role", None, {}, {}),
        ("fields_in_role", None, {}, {"crm_fields": {"deal_status": "won", "need": "x"}}),
        ("within_authority", DISCOUNT, {}, {"parameters": {"discount_bp": 1001}}),
        ("within_authority", DISCOUNT, {}, {"parameters": {"discount_bp": -1}}),
        ("within_authority", DISCOUNT, {}, {"parameters": {"discount_bp": True}}),
        ("within_authority", DISCOUNT, {}, {"parameters": {"discount_bp": "5"}}),
        ("within_authority", DISCOUNT, {}, {}),
        ("stage_reached", None, {"stage": "transfer"}, {}),
        ("stage_reached", None, {"stage": "no such stage"}, {}),
        ("stage_reached", None, {}, {}),
        ("conversation_live", None, {"conversation.phase/c1": "ended"}, {}),
        ("conversation_live", None, {"conversation.phase/c1": "answered", "conversation.channel/c1": "SMS"}, {}),
        (
            "contactable",
            None,
            {"do_not_contact.voice": "crm", "conversation.channel/c1": "VOICE"},
            {"channel": Channel.BACKEND},
        ),
        ("conversation_live", None, {}, {}),
        ("conversation_live", None, {"conversation.phase/c1": "answered"}, WITHOUT_CALL),
        ("floor_free", None, {"floor": "other"}, {}),
        ("turn_free", None, {"conversation.outgoing/c1": "other"}, {}),
        ("effect_free", None, {"pending.discount": "other"}, {}),
        ("effect_free", None, {"pending.discount": "me"}, {}),
        ("effect_free", None, {"pending.price": "other"}, {"action": "discuss_price"}),
        ("effect_not_refused", None, {"refused.discount": "buyer"}, {}),
        ("not_suspended", None, {"suspended.offer_discount": "risk"}, {}),
        ("in_time", None, {}, {"requested_at": NOW - 30 * SECOND - 1}),
        ("in_time", None, {}, {"requested_at": NOW + 30 * SECOND + 1}),
        ("in_time", None, {}, {"deadline": NOW}),
        ("contactable", None, {"do_not_contact": "buyer"}, {}),
        ("contactable", None, {"do_not_contact.voice": "crm"}, {}),
        ("consent", None, {"consent.voice.sales": "EXPRESS"}, {}),
        ("consent", None, {"consent.sms.sales": "EXPRESS_WRITTEN"}, {}),
        ("consent", None, {}, {"channel": Channel.BACKEND}),
        ("consent", None, {}, {}),
    ],
)
def test_what_is_not_allowed(
    kind: str, check: Any, facts: dict[str, str | Fact], request_fields: dict[str, Any]
) -> None:
    assert answer(kind, check, facts, **request_fields) is not None
