"""CEL conditions: what they see, what they read, and how a bad one is refused."""

from pathlib import Path
from typing import Any

import pytest

from processors.conditions import NO_LIMIT, ConditionError, ConditionSyntaxError, compile_condition, holds
from processors.hearing import Hearing, Situation
from processors.law import Law
from processors.policy import Condition, PolicyError, load_bundle, parse_bundle
from processors.policy.cel import VARIABLES
from schemas.records import AgentId, AgentRequest, Channel, ConversationId, Fact, LeadId, RequestId

NOW = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z
BUNDLE = load_bundle(Path(__file__).parents[2] / "deploy" / "policy" / "default")
LAW = Law(BUNDLE, BUNDLE.digest())


def fact(value: str, *, final: bool = True, confidence: float | None = None, at: int = NOW) -> Fact:
    return Fact(value=value, version=1, offset=1, at=at, final=final, confidence=confidence)


def hearing(facts: dict[str, Fact] | None = None, **request: Any) -> Hearing:
    asked = AgentRequest(
        request_id=RequestId("r1"), lead_id=LeadId("l1"), conversation_id=ConversationId("c1"), agent_id=AgentId("a1"),
        **{"role": "closing", "action": "offer_discount", "channel": Channel.VOICE, "requested_at": NOW, **request},
    )  # fmt: skip
    return Hearing(asked, Situation(facts or {}, (), NOW, LAW), LAW, NOW)


def is_true(source: str, heard: Hearing | None = None) -> bool:
    return holds(heard or hearing(), Condition(kind="condition", cel=source))


STATE = {
    "intent.scope": fact("confirmed", confidence=0.9, at=NOW - 90_000_000),
    "contact.attempts": fact("3"),
    "lead.jurisdictions": fact("US,US-FL"),
    "conversation.phase/c1": fact("answered", final=False),
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('facts["intent.scope"] == "confirmed"', True),
        ('facts["intent.scope"] == "withdrawn"', False),
        ('"intent.readiness" in facts', False),
        ('"intent.scope" in facts && final["intent.scope"]', True),
        ('final["conversation.phase"]', False),
        ('confidence["intent.scope"] >= 0.9', True),
        ('"contact.attempts" in confidence', False),
        ('age_s["intent.scope"] == 90', True),
        ("attempts == 3", True),
        ('facts["lead.jurisdictions"].split(",").exists(place, place == "US-FL")', True),
        ('now == timestamp("2027-01-15T08:00:00Z")', True),
        ("role.max_discount_bp == 1000", True),
        ('request.role == "closing" && request.channel == "VOICE" && request.agent_id == "a1"', True),
        ('request.tool == "" && request.text == "" && request.prompt_scope == ""', True),
        ('has(facts.risk) ? facts.risk != "high" : true', True),
    ],
)
def test_a_condition_sees_the_state_and_the_request(source: str, expected: bool) -> None:
    assert is_true(source, hearing(STATE)) is expected


def test_parameters_are_typed() -> None:
    heard = hearing(parameters={"discount_bp": 500, "plan": "gold", "trial": True}, crm_fields={"need": "much"})
    assert is_true('request.ints["discount_bp"] <= role.max_discount_bp', heard)
    assert is_true('request.strings["plan"] == "gold" && request.bools["trial"]', heard)
    assert is_true('!("trial" in request.ints) && request.crm_fields.all(name, name in ["need"])', heard)


def test_a_request_without_a_token_limit_keeps_none() -> None:
    assert not is_true("request.max_tokens <= 400")
    assert is_true(f"request.max_tokens == {NO_LIMIT}")
    assert is_true("request.max_tokens <= 400", hearing(max_tokens=400))


def test_attempts_are_none_where_nothing_was_tried() -> None:
    assert is_true("attempts == 0")


@pytest.mark.parametrize(
    ("source", "request_fields", "words"),
    [
        ('facts["intent.scope"] == "confirmed"', {}, "Key not found"),
        ('confidence["intent.scope"] > 0.5', {}, "Key not found"),
        ("1 / attempts == 1", {}, "divide by zero"),
        ('request.ints["discount_bp"] < 5', {"parameters": {"discount_bp": True}}, "Key not found"),
        ('request.ints["discount_bp"] < 5', {"parameters": {"discount_bp": 2**70}}, "too big"),
        ('request.text == "\\""', {"text": "\udc80"}, "string"),
    ],
)
def test_what_can_not_be_evaluated_is_an_error_and_never_true_or_false(
    source: str, request_fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConditionError, match=words):
        is_true(source, hearing(**request_fields))


def test_every_fact_that_a_condition_names_is_read_though_cel_would_stop_before_it() -> None:
    heard = hearing(STATE)
    assert is_true('"intent.scope" in facts || facts["conversation.phase"] == "ended" || age_s["risk"] > 5', heard)
    assert set(heard.read_set) == {"intent.scope", "conversation.phase/c1", "risk"}


def test_a_condition_reads_no_other_facts() -> None:
    heard = hearing(STATE)
    assert is_true('request.action == "offer_discount"', heard)
    assert heard.read_set == {}
    assert is_true("attempts < 5", heard)
    assert set(heard.read_set) == {"contact.attempts"}


def test_facts_and_variables_of_a_condition_are_known_once_it_is_compiled() -> None:
    condition = compile_condition(
        '"a.b" in facts && (final["a.b"] || ["x"].exists(v, v == facts.c)) && request.ints["n"] > age_s["d"]'
    )
    assert condition.facts == ("a.b", "c", "d")
    assert condition.names == ("facts", "final", "request.ints", "age_s")
    assert condition.keys == {"facts": ("a.b", "c"), "final": ("a.b",), "age_s": ("d",)}


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_variable_has_a_value_of_its_declared_type(name: str) -> None:
    sample = {"final": "{}[{!r}]", "facts": "{}[{!r}] == ''", "confidence": "{}[{!r}] == 0.0", "age_s": "{}[{!r}] == 0"}
    source = sample.get(name, "{0} == {0}").format(name, "risk")
    assert is_true(source, hearing({"risk": fact("", confidence=0.0)}, max_tokens=1))


@pytest.mark.parametrize(
    ("source", "column", "words"),
    [
        ('facts["a"] == 3', 12, "no matching overload"),
        ('age_s["a"] > 3.0', 12, "no matching overload"),
        ('facts["a"', 10, "Syntax error"),
        ("fcats == facts", 1, "undeclared reference to 'fcats'"),
        ('request.acton == "x"', 8, "undeclared reference"),
        ('facts["a"]', 1, "of type string"),
        ('facts["intent." + request.action] == "x"', 1, "literal text"),
        ('true || "a" + "b" in facts', 22, "literal text"),
        ('facts.all(name, name == "x")', 1, "literal text"),
        ("size(facts) > 3", 6, "literal text"),
        ('["a"].exists(x, final[x])', 17, "literal text"),
        ('facts[facts.a] == "x"', 1, "literal text"),
        ('{"a": facts}.size() > 1', 7, "literal text"),
        ('now.getHours("America/New_York") > 8', 13, "takes no zone"),
    ],
)
def test_a_bad_condition_is_refused_when_compiled_with_its_column(source: str, column: int, words: str) -> None:
    with pytest.raises(ConditionSyntaxError, match=words) as caught:
        compile_condition(source)
    assert (caught.value.line, caught.value.column) == (1, column)


def test_a_place_on_a_later_line_is_counted_from_that_line() -> None:
    with pytest.raises(ConditionSyntaxError, match="line 2, column 6"):
        compile_condition("true ||\n     facts == facts")


def test_a_bundle_with_a_bad_condition_is_refused_by_the_name_of_the_rule() -> None:
    rule = BUNDLE.rules[0].model_copy(
        update={"id": "my-rule", "check": Condition.model_construct(kind="condition", cel="1")}
    )
    with pytest.raises(PolicyError, match="rule my-rule: CEL, column 1: a condition must be true or false"):
        parse_bundle(BUNDLE.model_copy(update={"rules": (rule,)}).model_dump_json())
