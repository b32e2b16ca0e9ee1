"""What an agent sends is what the contract allows, and what can't be sent says why at once."""

from pathlib import Path
from typing import Any

import pytest

from agents import AgentConfig, MandateClient, Verdict, messages
from agents.messages import given_up, headers_of, make_outcome, make_request
from processors.bounds import MAX_ITEMS, fault_in
from processors.perception.payload import MAX_ID, MAX_TEXT
from schemas import codec
from schemas.headers import trace_of
from schemas.records import AgentOutcome, AgentRequest, Channel, OutcomeResult, OverrideUse, ReasonCode
from schemas.records import Verdict as Answer
from tests.agents.grants import JWKS
from tests.agents.records import NOW, decision, request

CONFIG = AgentConfig(
    agent_id="closer-1",
    role="closing",
    kafka={"bootstrap.servers": "127.0.0.1:1"},
    registry={"url": "http://127.0.0.1:1"},
    jwks=JWKS,
    now=lambda: NOW,
)


def asked(**changes: Any) -> AgentRequest:
    values: dict[str, Any] = {
        "lead_id": "lead-1",
        "action": "discuss_price",
        "channel": "voice",
        "parameters": {"amount_minor": 5000, "currency": "EUR"},
        "crm_fields": {},
        "tool": None,
        "conversation_id": "call-1",
        "request_id": None,
        "deadline": None,
    }
    return make_request(CONFIG, **{**values, **changes})


def test_a_request_takes_who_asks_and_when_from_the_configuration() -> None:
    made = asked()
    assert (made.agent_id, made.role, made.requested_at) == ("closer-1", "closing", NOW)
    assert made.channel is Channel.VOICE
    assert codec.decode(AgentRequest, codec.encode(made)) == made


def test_a_request_says_wording_prompt_and_tokens_when_the_agent_does_and_nothing_else() -> None:
    made = asked(text="Hello", prompt_scope="greeting", max_tokens=60)
    assert (made.text, made.prompt_scope, made.max_tokens) == ("Hello", "greeting", 60)
    assert (asked().text, asked().prompt_scope, asked().max_tokens) == (None, None, None)


def test_the_largest_request_that_the_client_takes_is_taken_by_intake_too() -> None:
    assert (messages.MAX_ID, messages.MAX_TEXT, messages.MAX_ITEMS) == (MAX_ID, MAX_TEXT, MAX_ITEMS)
    longest, text = "x" * MAX_ID, "x" * MAX_TEXT
    largest = asked(
        lead_id=longest, action=longest, tool=longest, conversation_id=longest, request_id=longest, text=text,
        prompt_scope=longest, max_tokens=2**63 - 1, parameters={f"{n}": text for n in range(MAX_ITEMS)},
        crm_fields={longest: text},
    )  # fmt: skip
    assert fault_in(largest) is None


def test_each_request_gets_an_id_of_its_own_unless_one_is_given() -> None:
    assert asked().request_id != asked().request_id
    assert asked(request_id="mine").request_id == "mine"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lead_id": ""}, "lead_id"),
        ({"action": ""}, "action"),
        ({"channel": "pigeon"}, "no channel 'pigeon'; there are VOICE, SMS"),
        ({"channel": "UNKNOWN"}, "no channel 'UNKNOWN'"),
        ({"parameters": {"share": 0.5}}, "parameter 'share' is float.*basis points"),
        ({"parameters": {"when": None}}, "parameter 'when' is NoneType"),
        ({"parameters": {"amount_minor": 2**63}}, "64 bits"),
        ({"parameters": {"note": "\ud800"}}, "non-UTF-8"),
        ({"crm_fields": {"score": 5}}, "CRM field 'score' is int"),
        ({"text": "x" * 8_001}, "text has 8001 characters; at most 8000 are taken"),
        ({"text": "\ud800"}, "text holds half of a surrogate pair"),
        ({"text": 5}, "text is int: text is expected"),
        ({"prompt_scope": "x" * 201}, "prompt_scope has 201 characters; at most 200"),
        ({"lead_id": "x" * 201}, "lead_id has 201 characters"),
        ({"conversation_id": ""}, "conversation_id must not be empty"),
        ({"max_tokens": 0}, "max_tokens is 0: a whole number from 1"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5"),
        ({"max_tokens": True}, "max_tokens is True"),
        ({"max_tokens": 2**63}, "max_tokens is 9223372036854775808"),
        ({"parameters": {f"{n}": n for n in range(101)}}, "101 parameters; at most 100"),
        ({"parameters": {"": 1}}, "a parameter needs a name"),
        ({"parameters": {"x" * 201: 1}}, "the name of a parameter has 201 characters"),
        ({"parameters": {"note": "x" * 8_001}}, "parameter 'note' has 8001 characters"),
        ({"crm_fields": {"note": "x" * 8_001}}, "CRM field 'note' has 8001 characters"),
    ],
)
def test_what_can_not_be_proposed_is_refused_in_words_before_anything_is_sent(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        asked(**changes)


def test_headers_carry_the_event_and_a_trace_of_its_own() -> None:
    first, second = headers_of(request()), headers_of(request())
    assert dict(first)["ce_id"] == b"request-1"
    assert dict(first)["ce_type"] == b"mandate.agent.requests"
    assert dict(first)["ce_subject"] == b"lead-1"
    assert trace_of(first) != trace_of(second)


def test_the_agents_own_trace_is_carried_on_and_a_malformed_one_refused() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert trace_of(headers_of(request(), trace)) == trace
    with pytest.raises(ValueError, match="not a W3C traceparent"):
        headers_of(request(), "my trace")


def permitted(**changes: Any) -> Verdict:
    return Verdict(request(), decision(request(), Answer.PERMIT, obligations=("disclose_ai",), **changes))


def test_a_report_names_the_grant_and_is_the_same_when_it_is_sent_again() -> None:
    first = make_outcome(permitted(), "done", ["disclose_ai"], None, None, NOW)
    again = make_outcome(permitted(), OutcomeResult.DONE, ["disclose_ai"], None, None, NOW + 1)
    assert (first.grant_id, first.request_id, first.result) == (
        "grant-of-request-1",
        "request-1",
        OutcomeResult.DONE,
    )
    assert first.outcome_id == again.outcome_id
    assert codec.decode(AgentOutcome, codec.encode(first)) == first


def test_a_report_of_another_result_is_another_report() -> None:
    done = make_outcome(permitted(), "done", [], None, None, NOW)
    assert done.outcome_id != given_up(decision(request(), Answer.PERMIT), "late", NOW).outcome_id


def test_a_permit_that_nobody_uses_is_abandoned_and_a_wait_is_cancelled_under_its_defer_id() -> None:
    permit = given_up(decision(request(), Answer.PERMIT), "late", NOW)
    assert (permit.result, permit.grant_id) == (OutcomeResult.ABANDONED, "grant-of-request-1")
    wait = given_up(decision(request(), Answer.DEFER), "no need", NOW)
    assert (wait.result, wait.grant_id, wait.request_id) == (OutcomeResult.CANCELLED, "defer-1", "request-1")
    assert fault_in(permit) is None
    assert fault_in(wait) is None


def test_a_permit_whose_defer_had_ended_is_abandoned_not_cancelled() -> None:
    terms = decision(request(), Answer.DEFER).defer
    assert given_up(decision(request(), Answer.PERMIT, defer=terms), "late", NOW).result is OutcomeResult.ABANDONED


def test_what_the_buyer_declined_is_reported_so() -> None:
    assert make_outcome(permitted(), "declined", [], None, None, NOW).result is OutcomeResult.DECLINED


def test_a_report_may_name_the_conversation_that_the_effect_began() -> None:
    assert make_outcome(permitted(), "done", [], None, "call-9", NOW).conversation_id == "call-9"


def test_only_a_permit_can_be_reported_on() -> None:
    for verdict in (
        Verdict(request(), None, "5 s passed"),
        Verdict(request(), decision(request(), Answer.BLOCK)),
        Verdict(request(), decision(request(), Answer.DEFER)),
    ):
        with pytest.raises(ValueError, match="nothing to report"):
            make_outcome(verdict, "done", [], None, None, NOW)


def test_an_obligation_that_the_permit_has_not_can_not_be_fulfilled() -> None:
    with pytest.raises(ValueError, match="no obligation announce_recording"):
        make_outcome(permitted(), "done", ["announce_recording"], None, None, NOW)


@pytest.mark.parametrize("result", ["maybe", "unknown", "cancelled"])
def test_a_result_that_a_permit_can_not_have_is_refused(result: str) -> None:
    with pytest.raises(ValueError, match="there are DONE, FAILED, ABANDONED, DECLINED"):
        make_outcome(permitted(), result, [], None, None, NOW)


def test_a_verdict_says_the_limits_and_the_override_that_it_rests_on() -> None:
    lifted = decision(request(), Answer.BLOCK).criteria[0].reasons
    use = OverrideUse(
        override_id="override-1", author="carol", author_role="executive", reason="a good customer",
        before=Answer.BLOCK, lifted=lifted,
    )  # fmt: skip
    verdict = permitted(max_tokens=60, prompt_scope=("offer",), override=use)
    assert (verdict.max_tokens, verdict.prompt_scope) == (60, ("offer",))
    assert verdict.override is not None
    assert (verdict.override.author, verdict.override.reason) == ("carol", "a good customer")
    assert [reason.code for reason in verdict.override.lifted] == [ReasonCode.DO_NOT_CONTACT]
    silent = Verdict(request(), None, "5 s passed")
    assert (silent.max_tokens, silent.prompt_scope, silent.override) == (None, (), None)


def test_a_verdict_is_true_for_a_permit_alone() -> None:
    assert permitted()
    assert not Verdict(request(), decision(request(), Answer.BLOCK))
    assert not Verdict(request(), decision(request(), Answer.DEFER))
    assert not Verdict(request(), None, "5 s passed")


def test_a_block_says_every_reason() -> None:
    verdict = Verdict(request(), decision(request(), Answer.BLOCK))
    assert verdict.code is ReasonCode.DO_NOT_CONTACT
    assert verdict.message == "BLOCK, DO_NOT_CONTACT: the lead opted out; MIN_GAP: called an hour ago"


def test_a_block_for_want_of_an_answer_says_so() -> None:
    verdict = Verdict(request(), None, "5 s passed without it")
    assert (verdict.answer, verdict.answered, verdict.code) == (Answer.BLOCK, False, ReasonCode.NO_ANSWER_IN_TIME)
    assert "no answer came in time: 5 s passed" in verdict.message
    assert verdict.grant is None


def test_keys_are_read_from_the_published_file_and_a_missing_one_is_said_at_once(tmp_path: Path) -> None:
    missing = AgentConfig(agent_id="a", role="closing", kafka={}, registry={"url": "x"}, jwks=tmp_path / "jwks.json")
    with pytest.raises(ValueError, match="holds no JWKS"):
        MandateClient(missing)
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    assert missing.public_keys() == {"keys": []}


def test_a_configuration_without_an_agent_is_refused_and_never_shows_its_secrets() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        AgentConfig(agent_id="", role="closing", kafka={}, registry={}, jwks=JWKS)
    secret = AgentConfig(agent_id="a", role="b", kafka={"sasl.password": "hunter2"}, registry={}, jwks=JWKS)
    assert "hunter2" not in repr(secret)
