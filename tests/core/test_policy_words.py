"""A bundle in words: what it takes, and what a permit brings."""

from base64 import urlsafe_b64encode
from pathlib import Path
from typing import get_args

import pytest

from processors.checks import CHECKS, FACT_CHECKS
from processors.explain.action import UnknownNameError, explain
from processors.explain.requirement import requirement
from processors.policy import Bundle, Check, Rule, load_bundle
from processors.policy.cel import VARIABLES
from schemas.records import Channel
from tests.core.story import KEY

SMALL = load_bundle(Path(__file__).parent / "bundles" / "small")
DEFAULT = load_bundle(Path(__file__).parents[2] / "deploy" / "policy" / "default")
PUBLIC_KEY = urlsafe_b64encode(KEY.public_key().public_bytes_raw()).decode().rstrip("=")


def test_an_action_is_explained_by_its_three_criteria() -> None:
    text = explain(SMALL, "offer", "closing")
    role, state, governance = (text.index(name) for name in ("\nROLE:", "\nSTATE:", "\nGOVERNANCE:"))
    assert role < text.index("[discount]") < state < text.index("[stage]") < governance < text.index("[disclosed]")
    assert 'this is true: request.ints["discount_bp"] <= role.max_discount_bp' in text
    assert "else    BLOCK DISCOUNT_ABOVE_AUTHORITY." in text
    assert "DEFER OBJECTION_OPEN for up to 2 minutes, then BLOCK." in text
    assert "source  Regulation (EU) 2024/1689 Art. 50(1)" in text
    assert "brings  intent.offer is confirmed" in text


def test_the_gravest_rules_lead_and_each_rule_has_its_severity() -> None:
    text = explain(DEFAULT, "initiate_contact", "booking")
    head, *criteria = text.split("\n\n")
    assert head.endswith("Gravest to fail, severity critical: gov-do-not-contact, gov-consent.")
    assert "  The person consented to this channel  [gov-consent]  severity critical\n" in criteria[2]
    assert "[role-action]  severity medium\n" in criteria[0]
    assert criteria[2].index("[gov-do-not-contact]") < criteria[2].index("[gov-consent]")


def test_no_rule_leads_where_all_are_equally_grave() -> None:
    assert "Gravest" not in explain(SMALL, "offer", "closing")


def test_a_grave_rule_that_demands_nothing_here_does_not_lead() -> None:
    live = next(rule for rule in SMALL.rules if rule.id == "live").model_copy(update={"severity": "critical"})
    rules = tuple(live if rule.id == "live" else rule for rule in SMALL.rules)
    bundle = SMALL.model_copy(update={"rules": rules})
    assert "Gravest" not in explain(bundle, "call", "booking")
    assert "Gravest to fail, severity critical: live." in explain(bundle, "offer", "closing")


def test_rules_about_other_actions_and_roles_are_left_out() -> None:
    text = explain(SMALL, "call", "booking")
    assert "[hours]" in text
    assert "[asked]" not in text
    assert "[discount]" not in text


def test_obligations_and_the_grant_are_told() -> None:
    text = explain(SMALL, "call", "booking")
    assert "must    Say that an AI is speaking (disclose_ai); shown by the agent's report." in text
    assert "grant   lives 1 minute, for one use" in text


def test_an_obligation_that_the_transcript_shows_is_told_with_its_words() -> None:
    text = " ".join(explain(DEFAULT, "initiate_contact", "booking").split())
    assert "its final words, one of: ai assistant;" in text


def test_a_role_that_may_not_ask_is_told_who_may() -> None:
    assert "The role may NOT ask for it, so the answer is always BLOCK; booking may." in explain(
        SMALL, "call", "closing"
    )


def test_what_demands_nothing_is_named_only() -> None:
    assert "Rules that demand nothing here: live." in explain(SMALL, "call", "booking")


def _with(rule: Rule) -> Bundle:
    return SMALL.model_copy(update={"rules": (rule,)})


def test_dates_and_overrides_are_told() -> None:
    rule = SMALL.rules[1].model_validate(
        {**SMALL.rules[1].model_dump(), "effective_from": "2026-01-01", "effective_to": "2026-12-31",
         "overridable": True, "binds_s": 3600}
    )  # fmt: skip
    person = {"role": "executive", "public_key": PUBLIC_KEY, "may_override": ["offer"]}
    bundle = Bundle.model_validate({**_with(rule).model_dump(), "people": {"ada": person}})
    text = " ".join(explain(bundle, "offer", "closing").split())
    assert "counts from 2026-01-01 until 2026-12-31, that day included (UTC)" in text
    assert "a BLOCK bars the effect discount for everybody for 1 hour; a person may lift it." in text
    assert "people ada (executive) may do so." in text


def test_a_channel_narrows_what_is_told() -> None:
    assert "consent.voice.sales is EXPRESS_WRITTEN." in explain(DEFAULT, "initiate_contact", "booking", Channel.VOICE)
    assert "consent.email" not in explain(DEFAULT, "initiate_contact", "booking", Channel.VOICE)
    assert "consent.email" in explain(DEFAULT, "initiate_contact", "booking")


@pytest.mark.parametrize(
    ("action", "role", "channel", "words"),
    [
        ("ofer", "closing", None, "no action 'ofer'; there are: call, ask_scope, offer, hand_over"),
        ("offer", "boss", None, "no role 'boss'; there are: booking, closing"),
        ("offer", "closing", Channel.EMAIL, "no channel of closing 'EMAIL'; there are: VOICE"),
    ],
)
def test_what_is_unknown_is_refused_with_what_there_is(
    action: str, role: str, channel: Channel | None, words: str
) -> None:
    with pytest.raises(UnknownNameError, match=words):
        explain(SMALL, action, role, channel)


def test_every_kind_of_check_has_its_words() -> None:
    kinds = {kind for model in get_args(get_args(Check)[0]) for kind in get_args(model.model_fields["kind"].annotation)}
    assert kinds == {*CHECKS, *FACT_CHECKS, "condition"}
    rules = {rule.check.kind: rule for rule in DEFAULT.rules}
    for kind in sorted(kinds):
        rule = rules.get(kind) or _sample(kind)
        assert len(requirement(DEFAULT, rule, "offer_discount", "closing")) > 10


def _sample(kind: str) -> Rule:
    """A rule with a check of a kind that the default bundle has no use for."""
    more = {
        "fact_present": {"fact": "risk"}, "fact_in": {"fact": "stage", "values": ["closing"]},
        "fact_absent": {"fact": "risk"}, "condition": {"cel": "true"},
    }  # fmt: skip
    row = {**DEFAULT.rules[0].model_dump(mode="json"), "check": {"kind": kind, **more.get(kind, {})}}
    return Rule.model_validate(row)


def test_every_action_of_every_role_of_the_bundle_that_ships_can_be_explained() -> None:
    for name, role in DEFAULT.roles.items():
        for action in role.actions:
            text = explain(DEFAULT, action, name)
            assert max(map(len, text.splitlines())) <= 120, f"{action} of {name}"


DOCS = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")


def test_the_docs_name_every_part_check_and_variable() -> None:
    kinds = {kind for model in get_args(get_args(Check)[0]) for kind in get_args(model.model_fields["kind"].annotation)}
    named = {*Bundle.model_fields, *kinds, *VARIABLES, *Rule.model_fields}
    assert sorted(name for name in named if f"`{name}`" not in DOCS and f"{name}:" not in DOCS) == []
